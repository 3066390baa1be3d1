package edgekit.testing

import org.junit.runner.Description
import org.junit.runner.JUnitCore
import org.junit.runner.notification.Failure
import org.junit.runner.notification.RunListener

/** Runs JUnit classes and prints a line for each test: its state, its name, and the reason. */
fun main(classes: Array<String>) {
    val lines = mutableMapOf<String, String>()
    val listener = object : RunListener() {
        override fun testStarted(description: Description) {
            lines[description.methodName] = "ok"
        }

        override fun testFailure(failure: Failure) {
            lines[failure.description.methodName] = "FAIL ${failure.exception}"
        }

        override fun testAssumptionFailure(failure: Failure) {
            lines[failure.description.methodName] = "SKIP ${failure.message}"
        }
    }
    val core = JUnitCore().apply { addListener(listener) }
    classes.forEach { core.run(Class.forName(it)) }
    lines.forEach { (test, state) -> println("$test $state") }
}
