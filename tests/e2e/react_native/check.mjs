// node check.mjs MODULE REFUSED: `predict` of the module's first golden picture, whatever runs it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, refused] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${module}/dist/${path}`));
const { Model, decode } = await load("src/index.js");
const { readGolden, pictureOf, test } = await load("test/stages.js");

const read = async (file) => Uint8Array.from(readFileSync(`${module}/golden/${file}`)).buffer;
const [sample] = await readGolden(read);
const outputs = [...sample].filter(([stage]) => stage.startsWith("output"));
const bytes = ({ values }) => new Uint8Array(values.buffer);

const run = async ([given, ...others]) => {
  assert.ok(given instanceof ArrayBuffer);
  assert.equal(others.length, 0);
  const wanted = bytes(sample.get("tensor"));
  assert.equal(given.byteLength, wanted.byteLength);
  run.given = new Uint8Array(given);
  return outputs.map(([, golden]) => bytes(golden).slice().buffer);
};

const log = console.info;
console.info = () => {};
const model = await Model.load({ refused: JSON.parse(refused), run }, ["core-ml", "nnapi"]);
const found = await model.predict(pictureOf(sample));
assert.ok(found.length > 0);

// A view into a larger buffer is handed over as what it is, and nothing around it.
const { values } = sample.get("tensor");
const larger = new values.constructor(values.length + 8);
larger.set(values, 4);
await model.run(larger.subarray(4, 4 + values.length));
assert.deepEqual(run.given, bytes(sample.get("tensor")));
for (const verdict of await test(0, sample, model)) assert.ok(verdict.ok, verdict.words);
assert.ok(decode);
log(JSON.stringify(model.delegates));
