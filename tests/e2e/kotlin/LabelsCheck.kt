package edgekit.PACKAGE

/** The labels in hex of their UTF-8, one a line. */
fun main() = labels.forEach { label -> println(label.toByteArray().joinToString("") { "%02x".format(it) }) }
