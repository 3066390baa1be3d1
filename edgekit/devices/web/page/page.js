// Runs models for the server that sent this page: takes a frame, does it, answers with a frame.
//
// A frame is two big-endian 32-bit lengths, a JSON object and bytes, as in
// edgekit/devices/agent/frames.py. Everything comes from, and goes to, the server on loopback.

import {loadAndCompile, loadLiteRt, supportsFeature, Tensor, unloadLiteRt} from '@litertjs/core';

const TYPES = {float32: Float32Array, int32: Int32Array, uint8: Uint8Array};
const PROGRESS_MS = 1000;
const models = new Map();
let loadedThreads = 0;
let told = 0;

class Refusal extends Error {}

// Version 2.5 goes on after errors that it only writes to the console, such as an operator that it
// does not know, and gives zeros. So what it writes there counts.
const complaints = [];
const write = console.error;
console.error = (...words) => {
  if (/^ERROR: /.test(words[0])) complaints.push(words.join(' ').slice(7));
  write.apply(console, words);
};

function say(words) {
  document.querySelector('#state').textContent = words;
}

function encode(header, parts = []) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const lengths = new DataView(new ArrayBuffer(8));
  lengths.setUint32(0, text.length);
  lengths.setUint32(4, parts.reduce((sum, part) => sum + part.byteLength, 0));
  return new Blob([lengths.buffer, text, ...parts]);
}

function decode(buffer) {
  const lengths = new DataView(buffer);
  const end = 8 + lengths.getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, end - 8)));
  return [header, buffer.slice(end, end + lengths.getUint32(4))];
}

async function send(header, parts) {
  await fetch('answer', {method: 'POST', body: encode(header, parts)});
}

function progress(done) {
  if (performance.now() - told > PROGRESS_MS) {
    told = performance.now();
    send({progress: done});
  }
}

// The browser: as much as it tells.

async function gpuName() {
  const adapter = navigator.gpu && await navigator.gpu.requestAdapter();
  if (!adapter) return null;
  const {vendor, architecture, description} = adapter.info;
  return description || [vendor, architecture].filter(Boolean).join(' ') || 'without a name';
}

async function browserFacts() {
  const data = navigator.userAgentData;
  const more = data ? await data.getHighEntropyValues(
      ['architecture', 'bitness', 'platformVersion', 'fullVersionList']) : {};
  const brands = (more.fullVersionList || []).filter(one => !/not.*brand/i.test(one.brand));
  // The most particular name: a Chrome says that it is a Chromium, too.
  const brand = brands.find(one => one.brand !== 'Chromium') || brands[0];
  const features = [];
  for (const name of ['relaxedSimd', 'threads', 'jspi'])
    if (await supportsFeature(name)) features.push(name);
  return {
    browser: brand ? `${brand.brand} ${brand.version}` : navigator.userAgent,
    machine: more.architecture ? `${more.architecture}_${more.bitness}` : 'unknown',
    system: [data ? data.platform : navigator.platform, more.platformVersion].join(' ').trim(),
    cores: navigator.hardwareConcurrency || null,
    isolated: crossOriginIsolated,
    wasm: features,
    webgpu: await gpuName(),
  };
}

// The runtime: one build of it at a time, with or without threads.

async function ensureRuntime(threads, accelerator) {
  const wanted = threads > 1 ? threads : 1;
  if (loadedThreads && (loadedThreads > 1) === (wanted > 1)) return false;
  if (wanted > 1 && !(crossOriginIsolated && await supportsFeature('threads')))
    throw new Refusal('This browser gives WebAssembly no threads. Use --threads 1.');
  const forgot = loadedThreads > 0;
  if (forgot) forget();
  const jspi = accelerator !== 'wasm' && wanted === 1 && await supportsFeature('jspi');
  await loadLiteRt(new URL('litert/wasm/', location.href).href, {threads: wanted > 1, jspi});
  loadedThreads = wanted;
  return forgot;
}

function forget() {
  models.clear();
  loadedThreads = 0;
  unloadLiteRt();
}

// Where the file's tensors are among the runtime's, which has an order of its own.
function places(details, names) {
  const found = names.map(name => details.findIndex(one => one.name === name));
  const clear = new Set(found).size === names.length && !found.includes(-1);
  return clear ? found : names.map((_, place) => place);
}

async function load({digest, threads, accelerator, inputs, outputs}, payload) {
  const forgot = await ensureRuntime(threads, accelerator);
  const bytes = new Uint8Array(payload);
  const compile = () => loadAndCompile(bytes, {accelerator, cpuOptions: {numThreads: threads}});
  const started = performance.now();
  const model = await compile();
  const load_ms = performance.now() - started;
  const given = model.getInputDetails();
  const fed = places(given, inputs);
  drop({digest});
  models.set(digest, {
    model, compile, inputs: fed,
    shapes: fed.map(place => Array.from(given[place].shape)),
    outputs: places(model.getOutputDetails(), outputs),
  });
  return [{load_ms, forgot, accelerated: accelerator === 'wasm' || model.isFullyAccelerated}];
}

function drop({digest}) {
  models.get(digest)?.model.delete();
  models.delete(digest);
  return [{}];
}

// Samples in, outputs out.

// For each array of the frame a function from a sample's number to a tensor of the model's shape.
function feeds({shapes}, tables, payload) {
  let start = 0;
  return tables.map(({dtype, shape}, place) => {
    const [count, ...one] = shape;
    const size = one.reduce((product, length) => product * length, 1);
    const values = new TYPES[dtype](payload, start, count * size);
    start += values.byteLength;
    return number => new Tensor(values.slice(number * size, (number + 1) * size), shapes[place]);
  });
}

// Feeds and results in the file's order; the results' values are there when this returns.
async function infer({model, inputs, outputs}, tensors) {
  const placed = [];
  inputs.forEach((place, number) => { placed[place] = tensors[number]; });
  const given = await model.run(placed);
  const results = outputs.map(place => given[place]);
  return [results, await Promise.all(results.map(result => result.data()))];
}

const free = tensors => tensors.forEach(tensor => tensor.deleted || tensor.delete());

async function run({digest, arrays, stateful}, payload) {
  const entry = models.get(digest);
  const makers = feeds(entry, arrays, payload);
  const count = arrays[0].shape[0];
  let parts, tables, seconds = 0;
  for (let number = 0; number < count; number++) {
    if (stateful && number) {  // each sample is a sequence of its own
      entry.model.delete();
      entry.model = await entry.compile();
    }
    const inputs = makers.map(make => make(number));
    const started = performance.now();
    const [results, values] = await infer(entry, inputs);
    seconds += (performance.now() - started) / 1e3;
    if (!parts) {
      parts = values.map(one => new one.constructor(count * one.length));
      tables = results.map(({type}) =>
          ({dtype: type.dtype, shape: [count, ...type.layout.dimensions]}));
    }
    values.forEach((one, place) => parts[place].set(one, number * one.length));
    free([...inputs, ...results]);
    progress(number + 1);
  }
  return [{arrays: tables, zlib: false, seconds}, parts];
}

async function benchmark({digest, arrays, runs, warmup, seconds}, payload) {
  const entry = models.get(digest);
  const inputs = feeds(entry, arrays, payload).map(make => make(0));
  const once = async () => {
    const started = performance.now();
    const [results] = await infer(entry, inputs);
    const ms = performance.now() - started;
    free(results);
    return ms;
  };
  const first_ms = await once();
  for (let number = 0; number < warmup; number++) {
    await once();
    progress(number);
  }
  const deadline = performance.now() + 1e3 * seconds;
  const samples_ms = [];
  while (samples_ms.length < runs) {
    samples_ms.push(await once());
    progress(warmup + samples_ms.length);
    if (performance.now() > deadline && samples_ms.length >= 5) break;
  }
  free(inputs);
  return [{samples_ms, first_ms}];
}

const VERBS = {load, drop, run, benchmark};

async function answer([header, payload]) {
  say(`${header.verb} …`);
  told = performance.now();
  try {
    complaints.length = 0;
    const [result, parts] = await VERBS[header.verb](header, payload);
    if (complaints.length) throw new Error(complaints[0]);
    await send({...result, ok: true}, parts);
  } catch (error) {
    // A WebAssembly that gave up once is of no more use.
    if (!(error instanceof Refusal)) forget();
    await send({cause: String(error.message || error), lost: !(error instanceof Refusal)});
  }
}

async function main() {
  // Stays open: its end tells the server that this page is gone.
  globalThis.alive = fetch('alive').then(response => response.text()).catch(() => {});
  await send({hello: await browserFacts()});
  for (;;) {
    say('Waiting for work …');
    const response = await fetch('next');
    if (response.status === 200) await answer(decode(await response.arrayBuffer()));
    else if (response.status !== 204) break;
  }
}

// Before the greeting the server wants to know; later it is the server that has gone.
main().catch(error => send({cause: String(error)})).catch(() => {}).finally(() => say('Done. This tab can be closed.'));
