// The AI SDK with its alibaba provider against a server: URL of an open one; URL and key of one that has keys; a picture.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createAlibaba } from "@ai-sdk/alibaba";
import { experimental_generateVideo as generateVideo } from "ai";

const [url, limitedUrl, , picture] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
const alibaba = createAlibaba({ videoBaseURL: url, apiKey: "none" });
const closed = createAlibaba({ videoBaseURL: limitedUrl, apiKey: "wrong" });
const download = async ({ url }) => {
    const data = new Uint8Array(await (await fetch(url)).arrayBuffer());
    return { data, mediaType: "video/mp4" };
};

// The provider looks every five seconds if nothing is said.
function make(model, prompt, fields = {}, own = {}) {
    const providerOptions = { alibaba: { pollIntervalMs: 100, ...own } };
    const small = { duration: 1, seed: 7, resolution: "32x32", maxRetries: 0, download };
    return generateVideo({ model, prompt, providerOptions, ...small, ...fields });
}

async function refused(call, name, words, status) {
    const error = await call.then(() => assert.fail(`not refused, with ${words}`), (error) => error);
    assert.deepEqual([error.name, error.statusCode], [name, status], error.message);
    assert(error.message.includes(words), `${words} is not in ${error.message}`);
}

const text = alibaba.video("happyhorse-1.0-t2v");
const plain = await make(text, "A red ball bounces");
assert.equal(Buffer.from(plain.video.uint8Array).toString("latin1", 4, 8), "ftyp");
const { usage } = plain.providerMetadata.alibaba;
const expected = { duration: 1, outputVideoDuration: 1, resolution: 32, size: "32*32", fps: 25, ratio: "1:1" };
assert.deepEqual(usage, expected);
await refused(make(text, "A red ball", { download: undefined }), "AI_DownloadError", "127.0.0.1");
await refused(make(text, " "), "AI_APICallError", "missing or empty", 400);
await refused(make(text, "A", { resolution: "1x1" }), "AI_APICallError", "32x32", 400);
await refused(make(closed.video("happyhorse-1.0-t2v"), "A"), "AI_APICallError", "the key is not one", 401);
// Of this name the provider sends the picture without a scheme, and only sizes that it knows as rows.
const framed = { image: readFileSync(picture), text: "A red ball bounces" };
const own = alibaba.video("happyhorse-1.0-i2v");
await refused(make(own, framed, { resolution: "8K" }), "AI_APICallError", "`resolution` must be 480P", 400);
await refused(make(own, { ...framed, image: Buffer.from("none") }, { resolution: undefined }), "AI_APICallError", "", 400);
