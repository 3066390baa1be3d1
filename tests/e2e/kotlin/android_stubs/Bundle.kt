package android.os

class Bundle {
    fun get(key: String): Any? = null
}
