"""Train a small Keras network on scikit-learn's digits: a model file, and arrays to test on."""

import keras
import numpy as np
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
data = load_digits()
x = (data.images[..., None] / 16).astype("float32")
model = keras.Sequential(
    [
        keras.Input((8, 8, 1), name="image"),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 3, padding="same", strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="scores"),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.fit(x[:1400], data.target[:1400], epochs=8, verbose=0)
accuracy = model.evaluate(x[1400:], data.target[1400:], verbose=0)[1]
print(f"accuracy on digits it has not seen: {accuracy:.1%}")
model.save("digits.keras")
np.savez("digits.npz", image=x[1400:], labels=data.target[1400:])
