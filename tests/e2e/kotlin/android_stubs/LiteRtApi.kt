// As much of LiteRT's Kotlin API as modules use, with the signatures of its sources (2.x).
package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class LiteRtException(message: String) : Exception(message)

class TensorBuffer internal constructor() : AutoCloseable {
    private fun missing(): Nothing = throw UnsupportedOperationException("a stub runs no model")

    fun writeInt(data: IntArray): Unit = missing()
    fun writeFloat(data: FloatArray): Unit = missing()
    fun writeInt8(data: ByteArray): Unit = missing()
    fun writeLong(data: LongArray): Unit = missing()
    fun readInt(): IntArray = missing()
    fun readFloat(): FloatArray = missing()
    fun readInt8(): ByteArray = missing()
    fun readLong(): LongArray = missing()
    override fun close() = Unit
}

class CompiledModel private constructor() : AutoCloseable {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null
    }

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = listOf(TensorBuffer())
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = listOf(TensorBuffer())
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) = Unit
    override fun close() = Unit

    companion object {
        /** What the device does not have: names in the property `edgekit.missing`. */
        fun create(assetManager: AssetManager, assetName: String, options: Options = Options(Accelerator.CPU)): CompiledModel {
            println("CompiledModel ${options.accelerators} threads ${options.cpuOptions?.numThreads}")
            val first = options.accelerators.first().name
            val missing = System.getProperty("edgekit.missing", "").split(' ')
            if (first in missing) throw LiteRtException("no $first")
            if ("lib$first" in missing) throw UnsatisfiedLinkError("no library of the $first")
            return CompiledModel()
        }
    }
}
