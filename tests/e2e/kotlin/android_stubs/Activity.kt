// As much of Android's API as the app's activity uses, in its packages' names.
package android.app

import android.content.ContentResolver
import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    val applicationContext: Context = this
    val contentResolver = ContentResolver()

    protected open fun onCreate(state: Bundle?) = Unit
    protected open fun onActivityResult(request: Int, code: Int, data: Intent?) = Unit
    protected open fun onDestroy() = Unit
    fun setContentView(view: View) = Unit
    fun startActivityForResult(intent: Intent, request: Int) = Unit
    fun runOnUiThread(action: () -> Unit) = action()

    companion object {
        const val RESULT_OK = -1
    }
}
