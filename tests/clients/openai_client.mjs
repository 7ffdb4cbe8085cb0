// The openai package for JavaScript against a server: URL of an open one; URL and key of one that has keys and takes
// two waiting jobs; a picture.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, limitedUrl, key, picture] = process.argv.slice(2);
const small = { prompt: "A red ball bounces", model: "sora-2", size: "64x64", seconds: "1" };
const long = { ...small, size: "448x256", seconds: "10", num_inference_steps: 1000 };

const sent = [];
const recording = (address, options) => {
    sent.push({ address: String(address), options });
    return fetch(address, options);
};
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", fetch: recording });
const limited = new OpenAI({ baseURL: limitedUrl + "/v1", apiKey: key, maxRetries: 0 });
const videos = client.videos;

async function poll(job) {
    for (let i = 0; i < 600 && ["queued", "in_progress"].includes(job.status); i++) {
        const { data, response } = await videos.retrieve(job.id).withResponse();
        const wait = Number(response.headers.get("openai-poll-after-ms"));
        assert(Number.isInteger(wait) && wait >= 250 && wait <= 5000, `openai-poll-after-ms: ${wait}`);
        job = data;
        await new Promise((done) => setTimeout(done, 100));
    }
    return job;
}

// `call` fails with exactly `kind`, after one request, with the server's code, parameter and text.
async function refused(kind, call, code, param, words) {
    sent.length = 0;
    const error = await call().then((made) => assert.fail(`not refused: ${JSON.stringify(made)}`), (error) => error);
    assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
    assert.deepEqual([error.code, error.param], [code, param], error.message);
    assert(error.message.includes(words), `${words} is not in ${error.message}`);
    assert(sent.length <= 1, `${sent.length} requests for ${error.message}`);
    return error;
}

const checks = {
    async creates() {
        const job = await videos.create(small);
        assert.deepEqual([job.object, job.size, job.seconds, job.error], ["video", "64x64", "1", null]);
        const done = await poll(job);
        assert.deepEqual([done.id, done.status, done.progress, done.error], [job.id, "completed", 100, null]);
        assert(Number.isInteger(done.created_at) && Number.isInteger(done.completed_at), JSON.stringify(done));
    },

    async creates_with_a_picture() {
        const seeded = { ...small, seed: 7, generate_audio: false };
        const address = `data:image/png;base64,${readFileSync(picture).toString("base64")}`;
        sent.length = 0;
        const stream = await poll(await videos.create({ ...seeded, input_reference: createReadStream(picture) }));
        assert.equal(new Headers(sent[0].options.headers).get("content-length"), null, "the stream had a length");
        assert.deepEqual([stream.status, stream.seed], ["completed", 7]);
        const plain = await poll(await videos.create(seeded));
        assert.notEqual(plain.file.sha256, stream.file.sha256, "the picture changed nothing");
        for (const [what, reference] of Object.entries({
            "a file by a wrong name": await toFile(readFileSync(picture), "wrong.txt", { type: "text/plain" }),
            "an object with a URL": { image_url: address },
        })) {
            const other = await poll(await videos.create({ ...seeded, input_reference: reference }));
            assert.equal(other.file.sha256, stream.file.sha256, what);
        }
        const json = await client.post("/videos", { body: { ...seeded, input_reference: { image_url: address } } });
        assert.equal((await poll(json)).file.sha256, stream.file.sha256, "JSON");
    },

    async keeps_metadata() {
        const job = await videos.create({ ...small, user: "a", metadata: { shot: "3" } });
        assert.deepEqual([job.user, job.metadata], ["a", { shot: "3" }]);
    },

    async downloads() {
        const job = await poll(await videos.create(small));
        const answer = await videos.downloadContent(job.id);
        assert.equal(answer.headers.get("content-type"), "video/mp4");
        const clip = Buffer.from(await answer.arrayBuffer());
        assert.deepEqual([clip.length, clip.toString("latin1", 4, 8)], [job.file.bytes, "ftyp"]);
        assert.equal(createHash("sha256").update(clip).digest("hex"), job.file.sha256);
        const thumbnail = await videos.downloadContent(job.id, { variant: "thumbnail" });
        assert.equal(Buffer.from(await thumbnail.arrayBuffer()).toString("latin1", 8, 12), "WEBP");
        const part = await videos.downloadContent(job.id, {}, { headers: { range: "bytes=10-19" } });
        assert.equal(part.status, 206);
        assert.deepEqual(Buffer.from(await part.arrayBuffer()), clip.subarray(10, 20));
        const linked = await fetch(job.file.url);
        assert.deepEqual(Buffer.from(await linked.arrayBuffer()), clip, "the clip by its link");
    },

    async lists() {
        const made = [];
        for (let i = 0; i < 5; i++) made.unshift((await videos.create(small)).id);
        const ids = [];
        for await (const job of videos.list({ limit: 2 })) ids.push(job.id);
        assert.deepEqual(ids.slice(0, 5), made, "newest first, over pages");
        assert.equal(new Set(ids).size, ids.length, "none twice");
        const oldest = await videos.list({ limit: 2, order: "asc" });
        assert.deepEqual(oldest.data.map((job) => job.id), ids.slice(-2).reverse(), "oldest first");
    },

    async cancels_and_deletes() {
        const job = await videos.create(long);
        await refused(OpenAI.ConflictError, () => videos.downloadContent(job.id), "not_ready", null, "not made yet");
        const cancelled = await poll(await client.post(`/videos/${job.id}/cancel`));
        assert.deepEqual([cancelled.status, cancelled.error.code], ["failed", "cancelled"]);
        assert.deepEqual(await videos.delete(job.id), { id: job.id, object: "video.deleted", deleted: true });
        await refused(OpenAI.NotFoundError, () => videos.retrieve(job.id), "not_found", null, job.id);
    },

    async refuses() {
        const bad = (fields, ...rest) =>
            refused(OpenAI.BadRequestError, () => videos.create({ ...small, ...fields }), ...rest);
        await bad({ secnods: 4 }, "unknown_field", "secnods", "did you mean `seconds`?");
        await bad({ size: "1x1" }, "invalid_size", "size", "32x32");
        await bad({ seconds: "NaN" }, "invalid_value", "seconds", "must be a number");
        await bad({ prompt: " " }, "invalid_prompt", "prompt", "missing or empty");
        const text = { input_reference: await toFile(Buffer.from("no picture"), "a.png") };
        await bad(text, "invalid_image", "input_reference", "expected a PNG, JPEG or WebP");
    },

    async refuses_what_is_impossible() {
        const impossible = (fields, ...rest) =>
            refused(OpenAI.UnprocessableEntityError, () => videos.create({ ...small, ...fields }), ...rest);
        const linked = { input_reference: { image_url: "https://example.com/a.png" } };
        await impossible(linked, "unsupported_feature", "input_reference", "fetches nothing");
        await impossible({ lora: { name: "x" } }, "unsupported_feature", "lora", "LoRA");
    },

    async refuses_other_calls() {
        for (const call of [
            () => videos.remix("video_123", { prompt: "a" }),
            () => videos.edit({ prompt: "a", video: { id: "video_123" } }),
            () => videos.extend({ prompt: "a", seconds: "4", video: { id: "video_123" } }),
            () => videos.getCharacter("char_123"),
        ])
            await refused(OpenAI.NotFoundError, call, "not_found", null, "not supported by the model");
    },

    async refuses_what_is_too_long() {
        const large = { ...small, input_reference: await toFile(Buffer.alloc(65 << 20), "a.png") };
        const error = await refused(OpenAI.APIError, () => videos.create(large), "too_large", null, "64 MiB");
        assert.equal(error.status, 413);
    },

    async keeps_out() {
        const { videos: closed } = new OpenAI({ baseURL: limitedUrl + "/v1", apiKey: "wrong", fetch: recording });
        const streamed = () => closed.create({ ...small, input_reference: createReadStream(picture) });
        // Many times: whether a body is still on its way when the answer comes is chance.
        const calls = [() => closed.list(), () => closed.create(small), ...Array(10).fill(streamed)];
        for (const call of calls)
            await refused(OpenAI.AuthenticationError, call, "invalid_api_key", null, "key");
        const jobs = [await limited.videos.create(long)];
        while ((await limited.videos.retrieve(jobs[0].id)).status === "queued")
            await new Promise((done) => setTimeout(done, 50));
        for (let i = 0; i < 2; i++) jobs.push(await limited.videos.create(small));
        const create = () => limited.videos.create(small);
        const error = await refused(OpenAI.RateLimitError, create, "queue_full", null, "2 jobs are waiting");
        const seconds = Number(error.headers.get("retry-after"));
        assert(seconds >= 1 && seconds <= 120, `retry-after: ${seconds}`);
        for (const job of jobs) await limited.videos.delete(job.id);
    },
};

for (const [name, check] of Object.entries(checks)) {
    try {
        await check();
    } catch (error) {
        process.exitCode = 1;
        console.log(`${name}: ${error.constructor.name}: ${error.message}`);
    }
}
