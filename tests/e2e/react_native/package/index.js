// A stand-in for react-native-fast-tflite, which needs a phone: `source` knows what to answer.
export async function loadTensorflowModel(source, delegates) {
  for (const one of delegates) {
    if (source.refused.includes(one)) throw new Error(`no ${one} here`);
  }
  return { delegates, run: source.run };
}
