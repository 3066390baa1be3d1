package edgekit.testing

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The model of the property `edgekit.model` in the runtime of the property `edgekit.jni`. */
class LiteRt(outputs: Int) : AutoCloseable {
    private val session = open(System.getProperty("edgekit.model"), outputs)

    fun run(tensor: Any) {
        run(session, bytes(tensor))
    }

    /** Fills an array with an output and returns it. */
    fun <T : Any> read(place: Int, values: T): T {
        val raw = bytes(values)
        read(session, place, raw)
        val from = ByteBuffer.wrap(raw).order(ByteOrder.nativeOrder())
        when (values) {
            is ByteArray -> from.get(values)
            is ShortArray -> from.asShortBuffer().get(values)
            is IntArray -> from.asIntBuffer().get(values)
            is LongArray -> from.asLongBuffer().get(values)
            is FloatArray -> from.asFloatBuffer().get(values)
        }
        return values
    }

    override fun close() = close(session)

    private fun bytes(values: Any): ByteArray {
        fun buffer(size: Int) = ByteBuffer.allocate(size).order(ByteOrder.nativeOrder())
        return when (values) {
            is ByteArray -> values.copyOf()
            is ShortArray -> buffer(2 * values.size).also { it.asShortBuffer().put(values) }.array()
            is IntArray -> buffer(4 * values.size).also { it.asIntBuffer().put(values) }.array()
            is LongArray -> buffer(8 * values.size).also { it.asLongBuffer().put(values) }.array()
            is FloatArray -> buffer(4 * values.size).also { it.asFloatBuffer().put(values) }.array()
            else -> throw IllegalArgumentException("no array of numbers: $values")
        }
    }

    private companion object {
        init {
            System.load(System.getProperty("edgekit.jni"))
        }

        @JvmStatic external fun open(path: String, outputs: Int): Long
        @JvmStatic external fun run(session: Long, tensor: ByteArray): Int
        @JvmStatic external fun read(session: Long, place: Int, output: ByteArray)
        @JvmStatic external fun close(session: Long)
    }
}
