package android.view

import android.content.Context

open class View(context: Context) {
    var fitsSystemWindows = false

    fun setPadding(left: Int, top: Int, right: Int, bottom: Int) = Unit
    fun setOnClickListener(listener: (View) -> Unit) = Unit
}
