package android.content

import android.net.Uri
import android.os.Bundle

class ActivityNotFoundException : RuntimeException()

class ContentResolver

class Intent(action: String) {
    val data: Uri? = null
    val extras: Bundle? = null

    fun setType(type: String): Intent = this

    companion object {
        const val ACTION_GET_CONTENT = "android.intent.action.GET_CONTENT"
    }
}
