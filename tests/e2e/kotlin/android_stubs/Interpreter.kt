package org.tensorflow.lite

import java.nio.ByteBuffer

class Interpreter(model: ByteBuffer, options: Options) : AutoCloseable {
    class Options {
        internal var threads = 0

        fun setNumThreads(threads: Int): Options = apply { this.threads = threads }
    }

    init {
        println("Interpreter ${model.capacity()} bytes, threads ${options.threads}")
    }

    fun runForMultipleInputsOutputs(inputs: Array<out Any>, outputs: Map<Int, Any>) = Unit
    override fun close() = Unit
}
