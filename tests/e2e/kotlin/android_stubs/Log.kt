package android.util

object Log {
    @JvmStatic
    fun w(tag: String?, message: String?, error: Throwable? = null): Int {
        println("Log.w $tag: $message: $error")
        return 0
    }
}
