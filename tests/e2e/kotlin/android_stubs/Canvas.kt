package android.graphics

class Canvas(bitmap: Bitmap) {
    fun drawRect(left: Float, top: Float, right: Float, bottom: Float, paint: Paint) = Unit
}

class Paint {
    enum class Style { STROKE }

    var style: Style? = null
    var strokeWidth = 0f
    var color = 0
}

object Color {
    fun HSVToColor(hsv: FloatArray) = 0
}
