package edgekit.PACKAGE

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator

/** Opens a runner as an app does, and reads a bitmap that lies on the GPU: prints what came of it. */
fun main(words: Array<String>) {
    val options = Options(Accelerator.valueOf(words.single()), threads = 3)
    openRunner(Context(), options).use { println("runner ${it.javaClass.simpleName}") }
    val bitmap = Bitmap(2, 1, Bitmap.Config.HARDWARE, intArrayOf(0xFF010203.toInt(), 0x00FFFEFD))
    println("rgb ${bitmap.toPicture().rgb.joinToString(" ")}")
}
