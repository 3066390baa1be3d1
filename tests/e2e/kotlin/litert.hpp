// A model in LiteRT, through its C API, for the JNI bridge that Kotlin is tested with.
// The functions are declared here because LiteRT's headers do not come with every library; checked
// with libLiteRt.so of ai-edge-litert 2.3.0.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
using LiteRtHandle = void*;  // environments, models, options, tensors and buffers alike
using LiteRtNeeds = int(LiteRtHandle compiled, std::size_t signature, std::size_t, LiteRtHandle*);
using LiteRtPart = int(LiteRtHandle whole, std::size_t number, LiteRtHandle* part);
int LiteRtCreateEnvironment(int options, const void* values, LiteRtHandle* environment);
int LiteRtCreateModelFromFile(LiteRtHandle environment, const char* path, LiteRtHandle* model);
int LiteRtCreateOptions(LiteRtHandle* options);
int LiteRtSetOptionsHardwareAccelerators(LiteRtHandle options, int accelerators);
int LiteRtCreateOpaqueOptions(const char* name, void* text, void (*free)(void*), LiteRtHandle* made);
int LiteRtAddOpaqueOptions(LiteRtHandle options, LiteRtHandle made);
int LiteRtCreateCompiledModel(LiteRtHandle, LiteRtHandle model, LiteRtHandle options, LiteRtHandle*);
LiteRtPart LiteRtGetModelSignature;
LiteRtPart LiteRtGetSignatureInputTensorByIndex, LiteRtGetSignatureOutputTensorByIndex;
LiteRtNeeds LiteRtGetCompiledModelInputBufferRequirements;
LiteRtNeeds LiteRtGetCompiledModelOutputBufferRequirements;
int LiteRtGetRankedTensorType(LiteRtHandle tensor, void* type);
int LiteRtCreateManagedTensorBufferFromRequirements(LiteRtHandle environment, const void* type,
                                                    LiteRtHandle needs, LiteRtHandle* buffer);
int LiteRtGetTensorBufferPackedSize(LiteRtHandle buffer, std::size_t* bytes);
int LiteRtLockTensorBuffer(LiteRtHandle buffer, void** memory, int mode);  // 0 read, 1 write
int LiteRtUnlockTensorBuffer(LiteRtHandle buffer);
int LiteRtRunCompiledModel(LiteRtHandle, std::size_t signature, std::size_t inputs,
                           LiteRtHandle* input, std::size_t outputs, LiteRtHandle* output);
void LiteRtDestroyEnvironment(LiteRtHandle);
void LiteRtDestroyModel(LiteRtHandle);
void LiteRtDestroyOptions(LiteRtHandle);
void LiteRtDestroyCompiledModel(LiteRtHandle);
void LiteRtDestroyTensorBuffer(LiteRtHandle);
}

namespace litert {

inline void check(int status, const std::string& what) {
  if (status != 0) throw std::runtime_error("LiteRT, status " + std::to_string(status) + ": " + what);
}

// A model with one input and some outputs, ready to run.
class Session {
 public:
  // Bits of `accelerators`: 1 the CPU, 2 the GPU, 4 the NPU. The CPU takes over from what is not there.
  Session(const std::string& path, std::size_t outputs, int accelerators, int threads) {
    LiteRtHandle made = nullptr;
    check(LiteRtCreateEnvironment(0, nullptr, &made), "environment");
    environment_.reset(made);
    check(LiteRtCreateModelFromFile(made, path.c_str(), &made), path);
    model_.reset(made);
    if (compile(accelerators, threads) != 0) check(compile(1, threads), "the model does not run here");
    input_ = buffer(0, LiteRtGetSignatureInputTensorByIndex, LiteRtGetCompiledModelInputBufferRequirements);
    for (std::size_t number = 0; number < outputs; ++number) {
      outputs_.push_back(buffer(number, LiteRtGetSignatureOutputTensorByIndex,
                                LiteRtGetCompiledModelOutputBufferRequirements));
    }
  }

  int accelerators() const { return accelerators_; }

  template <typename Value>
  void run(const std::vector<Value>& tensor) {
    void* memory = lock(input_.get(), tensor.size() * sizeof(Value), 1);
    std::memcpy(memory, tensor.data(), tensor.size() * sizeof(Value));
    check(LiteRtUnlockTensorBuffer(input_.get()), "the input");
    LiteRtHandle input = input_.get();
    std::vector<LiteRtHandle> outputs;
    for (const auto& output : outputs_) outputs.push_back(output.get());
    check(LiteRtRunCompiledModel(compiled_.get(), 0, 1, &input, outputs.size(), outputs.data()), "run");
  }

  template <typename Value>
  void read(std::size_t number, std::vector<Value>& values) {
    LiteRtHandle output = outputs_.at(number).get();
    std::memcpy(values.data(), lock(output, values.size() * sizeof(Value), 0), values.size() * sizeof(Value));
    check(LiteRtUnlockTensorBuffer(output), "an output");
  }

 private:
  template <void (*Destroy)(LiteRtHandle)>
  struct Deleter {
    void operator()(LiteRtHandle handle) const { Destroy(handle); }
  };
  template <void (*Destroy)(LiteRtHandle)>
  using Owned = std::unique_ptr<void, Deleter<Destroy>>;
  using Buffer = Owned<LiteRtDestroyTensorBuffer>;

  int compile(int accelerators, int threads) {
    LiteRtHandle options = nullptr, cpu = nullptr, compiled = nullptr;
    const std::string text = "num_threads = " + std::to_string(threads) + "\n";
    check(LiteRtCreateOptions(&options), "options");
    options_.reset(options);
    check(LiteRtSetOptionsHardwareAccelerators(options, accelerators), "accelerators");
    check(LiteRtCreateOpaqueOptions("xnnpack", strdup(text.c_str()), std::free, &cpu), "threads");
    check(LiteRtAddOpaqueOptions(options, cpu), "threads");
    accelerators_ = accelerators;
    const int status = LiteRtCreateCompiledModel(environment_.get(), model_.get(), options, &compiled);
    compiled_.reset(compiled);
    return status;
  }

  Buffer buffer(std::size_t number, LiteRtPart* tensor_of, LiteRtNeeds* needs_of) {
    LiteRtHandle signature = nullptr, tensor = nullptr, needs = nullptr, made = nullptr;
    alignas(16) unsigned char type[1024];  // a struct that only LiteRT looks into
    check(LiteRtGetModelSignature(model_.get(), 0, &signature), "signature");
    check(tensor_of(signature, number, &tensor), "tensor");
    check(LiteRtGetRankedTensorType(tensor, type), "type of a tensor");
    check(needs_of(compiled_.get(), 0, number, &needs), "needs of a tensor");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment_.get(), type, needs, &made), "memory");
    return Buffer(made);
  }

  static void* lock(LiteRtHandle buffer, std::size_t bytes, int mode) {
    void* memory = nullptr;
    std::size_t size = 0;
    check(LiteRtGetTensorBufferPackedSize(buffer, &size), "size of a tensor");
    if (size != bytes) throw std::invalid_argument("a tensor of another size than the model's");
    check(LiteRtLockTensorBuffer(buffer, &memory, mode), "memory of a tensor");
    return memory;
  }

  int accelerators_ = 1;
  Owned<LiteRtDestroyEnvironment> environment_;
  Owned<LiteRtDestroyModel> model_;
  Owned<LiteRtDestroyOptions> options_;
  Owned<LiteRtDestroyCompiledModel> compiled_;
  Buffer input_;
  std::vector<Buffer> outputs_;
};

}  // namespace litert
