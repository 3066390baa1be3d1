package android.content.res

import java.io.Closeable
import java.io.File
import java.io.FileDescriptor
import java.io.FileInputStream

/** The assets are the files of the folder in the property `edgekit.assets`. */
class AssetManager {
    fun openFd(name: String) = AssetFileDescriptor(File(System.getProperty("edgekit.assets"), name))
}

class AssetFileDescriptor(file: File) : Closeable {
    private val stream = FileInputStream(file)
    val fileDescriptor: FileDescriptor = stream.fd
    val startOffset = 0L
    val declaredLength = file.length()

    override fun close() = stream.close()
}
