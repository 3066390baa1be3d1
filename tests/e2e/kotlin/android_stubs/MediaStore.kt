package android.provider

object MediaStore {
    const val ACTION_IMAGE_CAPTURE = "android.media.action.IMAGE_CAPTURE"
}
