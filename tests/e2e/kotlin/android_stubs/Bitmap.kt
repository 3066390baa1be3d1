package android.graphics

/** Pixels as ARGB numbers. A hardware bitmap cannot be read. */
class Bitmap(val width: Int, val height: Int, val config: Config?, private val colors: IntArray) {
    enum class Config { ARGB_8888, RGB_565, HARDWARE }

    fun copy(config: Config, isMutable: Boolean) = Bitmap(width, height, config, colors)

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        check(config != Config.HARDWARE) { "unable to getPixels(), pixel access is not supported on Config#HARDWARE bitmaps" }
        check(offset == 0 && stride == width && x == 0 && y == 0)
        colors.copyInto(pixels)
    }
}
