// LiteRT for the JVM, as much as the golden tests of Android modules need: the C++ module's session.
#include <jni.h>

#include "litert.hpp"

namespace {

using Bytes = std::vector<char>;

// Runs `work`; what it throws becomes an exception of the JVM's.
template <typename Work>
auto guarded(JNIEnv* env, const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    env->ThrowNew(env->FindClass("java/lang/IllegalStateException"), error.what());
    return {};
  }
}

}  // namespace

extern "C" JNIEXPORT jlong JNICALL Java_edgekit_testing_LiteRt_open(JNIEnv* env, jclass, jstring path, jint outputs) {
  const char* text = env->GetStringUTFChars(path, nullptr);
  const std::string file = text;
  env->ReleaseStringUTFChars(path, text);
  return guarded(env, [&] { return reinterpret_cast<jlong>(new litert::Session(file, outputs, 1, 1)); });
}

extern "C" JNIEXPORT jint JNICALL Java_edgekit_testing_LiteRt_run(JNIEnv* env, jclass, jlong session, jbyteArray tensor) {
  return guarded(env, [&]() -> jint {
    Bytes bytes(env->GetArrayLength(tensor));
    env->GetByteArrayRegion(tensor, 0, static_cast<jsize>(bytes.size()), reinterpret_cast<jbyte*>(bytes.data()));
    reinterpret_cast<litert::Session*>(session)->run(bytes);
    return 0;
  });
}

extern "C" JNIEXPORT void JNICALL Java_edgekit_testing_LiteRt_read(JNIEnv* env, jclass, jlong session, jint place, jbyteArray output) {
  guarded(env, [&]() -> jint {
    Bytes bytes(env->GetArrayLength(output));
    reinterpret_cast<litert::Session*>(session)->read(place, bytes);
    env->SetByteArrayRegion(output, 0, static_cast<jsize>(bytes.size()), reinterpret_cast<jbyte*>(bytes.data()));
    return 0;
  });
}

extern "C" JNIEXPORT void JNICALL Java_edgekit_testing_LiteRt_close(JNIEnv*, jclass, jlong session) {
  delete reinterpret_cast<litert::Session*>(session);
}
