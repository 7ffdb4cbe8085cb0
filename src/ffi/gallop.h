// libgallop: video with sound from a prompt. Made from src/ffi by tools/header.sh.
//
// Functions return GALLOP_STATUS_OK or why not; the sentence to that is gallop_last_error's, in the same thread.
// Texts are UTF-8 and end in a zero. A pointer is null only where that is said to be allowed. What the library gives is
// freed by the library: an engine by gallop_engine_close, a job by gallop_job_free, and what is said to live as long as the
// job with it. Any function may be called from any thread, but nothing while it is freed by another.
//
// Version 1 of this interface may gain functions, and fields at the end of GallopRequest; nothing else changes in it.

#ifndef GALLOP_H
#define GALLOP_H

#include <stddef.h>
#include <stdint.h>

// The version of this interface. A later library with the same number has all that this one has.
#define GALLOP_ABI_VERSION 1

// How a call ended. The sentence to a failure is gallop_last_error's.
enum GallopStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Done.
  GALLOP_STATUS_OK = 0,
  // A value, a text, a picture or a sound that cannot be used, or a null pointer where there must be none.
  GALLOP_STATUS_INVALID_ARGUMENT = -1,
  // A file that cannot be read or written.
  GALLOP_STATUS_IO = -2,
  // It does not fit into memory.
  GALLOP_STATUS_OUT_OF_MEMORY = -3,
  // No device, no driver, or a failing device.
  GALLOP_STATUS_BACKEND = -4,
  // Somebody cancelled the job.
  GALLOP_STATUS_CANCELLED = -5,
  // The job has not ended yet.
  GALLOP_STATUS_NOT_READY = -6,
  // The job has not ended in the time that was given; no error, and no sentence.
  GALLOP_STATUS_TIMEOUT = -7,
  // Model files that are missing, damaged or of another shape.
  GALLOP_STATUS_NOT_INSTALLED = -8,
  // A fault of this library.
  GALLOP_STATUS_INTERNAL = -9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum GallopStatus GallopStatus;
#else
typedef int32_t GallopStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a job is doing.
enum GallopJobStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It waits for its turn.
  GALLOP_JOB_STATUS_QUEUED = 0,
  // It is being made.
  GALLOP_JOB_STATUS_RUNNING = 1,
  // It is made.
  GALLOP_JOB_STATUS_COMPLETED = 2,
  // It could not be made.
  GALLOP_JOB_STATUS_FAILED = 3,
  // Somebody cancelled it.
  GALLOP_JOB_STATUS_CANCELLED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum GallopJobStatus GallopJobStatus;
#else
typedef int32_t GallopJobStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which part of the work a job is at.
enum GallopStage
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // None yet.
  GALLOP_STAGE_NONE = 0,
  // Prompt to features.
  GALLOP_STAGE_TEXT = 1,
  // Picture to latent.
  GALLOP_STAGE_IMAGE = 2,
  // Voice track to latent.
  GALLOP_STAGE_VOICE = 3,
  // Base pass.
  GALLOP_STAGE_BASE = 4,
  // Super-resolution pass.
  GALLOP_STAGE_SUPER_RESOLUTION = 5,
  // Latents to frames.
  GALLOP_STAGE_DECODE_VIDEO = 6,
  // Latents to sound.
  GALLOP_STAGE_DECODE_AUDIO = 7,
  // Encoding and the MP4.
  GALLOP_STAGE_MUX = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum GallopStage GallopStage;
#else
typedef int32_t GallopStage;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a line of the log is.
enum GallopLogLevel
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Something that differs from what was asked, or did not work.
  GALLOP_LOG_LEVEL_WARNING = 1,
  // What is done.
  GALLOP_LOG_LEVEL_INFO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum GallopLogLevel GallopLogLevel;
#else
typedef int32_t GallopLogLevel;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A device and a model that make one clip after the other. Several may be open at once and know nothing of one another.
typedef struct GallopEngine GallopEngine;

// A clip that was asked for.
typedef struct GallopJob GallopJob;

// How far a job is.
typedef struct GallopJobState {
  // What it is doing.
  GallopJobStatus status;
  // Which part of the work it is at.
  GallopStage stage;
  // Steps of that part that are done.
  int32_t step;
  // Steps that it has.
  int32_t steps;
  // Per cent of the work that are done; never less than before, and 100 only when the job is completed.
  int32_t progress;
} GallopJobState;

// Hears how far a job is, with the `user` of the request; anything but 0 cancels the job. It comes from threads of the
// library, for one job from one at a time, until the job has ended. It may call any function but gallop_job_wait, which
// is refused there, and must neither throw nor jump out. The state lives as long as the call.
typedef int (*GallopProgress)(const struct GallopJobState *state, void *user);

// What a clip is to be. gallop_request_init fills it in; whatever is left as it was then is decided by the model. All that
// it points to is copied by the call that gets it, but for `user`.
typedef struct GallopRequest {
  // Bytes of this structure, as the caller knows it.
  size_t struct_size;
  // Content of the clip: picture and speech.
  const char *prompt;
  // Pixels in a row, rounded down to a multiple of 32; with `height`.
  int32_t width;
  // Rows, rounded down to a multiple of 32; with `width`.
  int32_t height;
  // Length, up to 10.
  double seconds;
  // Seed of all noise; -1: a random one.
  int64_t seed;
  // Steps of the base pass.
  int32_t steps;
  // Samples per second of `audio_samples`.
  int32_t audio_rate;
  // Picture of the first frame: a PNG, JPEG or WebP file.
  const char *image_path;
  // The same in memory, in place of a file: `[image_height][image_width][3]`, red, green and blue.
  const uint8_t *image_rgb;
  // Pixels in a row of `image_rgb`.
  int32_t image_width;
  // Rows of `image_rgb`.
  int32_t image_height;
  // Voice track that drives the clip: a WAV, AIFF, CAF, MP3, AAC, M4A, FLAC or Ogg Vorbis file.
  const char *audio_path;
  // The same in memory, in place of a file: `[audio_frames][audio_channels]`, of nominal range -1 to 1.
  const float *audio_samples;
  // Samples per channel of `audio_samples`.
  size_t audio_frames;
  // Channels of `audio_samples`: 1 or 2.
  int32_t audio_channels;
  // Hears how far the job is.
  GallopProgress progress;
  // What `progress` gets. It must be there until the job has ended.
  void *user;
  // More parameters, by the names of the HTTP interface, as a JSON object: `{"scale": 2, "quality": 8}`. They go before the
  // fields above.
  const char *extra_json;
} GallopRequest;

// The frames of a clip.
typedef struct GallopFrames {
  // `[count][height][width][3]`: red, green, blue. It lives as long as the job.
  const uint8_t *rgb;
  // Number of frames.
  size_t count;
  // Pixels in a row.
  int32_t width;
  // Rows.
  int32_t height;
  // Frames per second.
  double fps;
} GallopFrames;

// The sound of a clip, as long as its frames.
typedef struct GallopAudio {
  // `[count][channels]`, of nominal range -1 to 1; null if the clip has no sound. It lives as long as the job.
  const float *samples;
  // Samples per channel.
  size_t count;
  // Samples per second.
  int32_t rate;
  // Channels.
  int32_t channels;
} GallopAudio;

// Gets a line of the log, of one of the levels of GallopLogLevel; the line lives as long as the call. It comes from any
// thread, also from several at once.
typedef void (*GallopLog)(int level, const char *line, void *user);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the interface that the library has; compare it with GALLOP_ABI_VERSION.
uint32_t gallop_abi_version(void);

// The version of the library. The text lives for ever.
const char *gallop_version(void);

// Opens a device and the model in the folder `model_dir`, or with a null pointer the built-in miniature; weights are
// loaded by the first job. `options_json` may be null, or a JSON object with any of `device` ("auto", "cpu", "cuda:0"),
// `variant` ("distill", "base"), `decoder` ("turbo", "wan"), `precision` ("bf16", "fp8") and `weight_bytes` (what may stay
// on the device between jobs). Close the engine with gallop_engine_close.
GallopStatus gallop_engine_open(const char *model_dir,
                                const char *options_json,
                                struct GallopEngine **out);

// Cancels the jobs of an engine, waits for the end of the one that is being made, and frees the engine; null is allowed.
// Jobs stay until they are freed. In a progress callback of one of its jobs it does not wait.
void gallop_engine_close(struct GallopEngine *engine);

// What an engine has, as JSON: version, model, device, and what its clips are by default. `buf` and `len` as in gallop_last_error.
GallopStatus gallop_engine_info_json(const struct GallopEngine *engine,
                                     char *buf,
                                     size_t *len);

// Fills in a request that asks for nothing; `struct_size` is sizeof(GallopRequest).
void gallop_request_init(struct GallopRequest *request, size_t struct_size);

// What a request would become, as JSON: size, length, what each stage takes, and what to know beforehand. Makes nothing.
// `buf` and `len` as in gallop_last_error.
GallopStatus gallop_plan_json(const struct GallopEngine *engine,
                              const struct GallopRequest *request,
                              char *buf,
                              size_t *len);

// Takes a request and returns at once; the clip is made when those before it are. What can be seen in the request alone is
// refused here, the rest when its turn has come. Free the job with gallop_job_free.
GallopStatus gallop_submit(const struct GallopEngine *engine,
                           const struct GallopRequest *request,
                           struct GallopJob **out);

// Waits for the end of a job: GALLOP_STATUS_OK if it made its clip, else why not. After `timeout_ms` it returns
// GALLOP_STATUS_TIMEOUT, and with -1 it waits as long as it takes. Refused in a progress callback.
GallopStatus gallop_job_wait(const struct GallopJob *job, int64_t timeout_ms);

// How far a job is.
GallopStatus gallop_job_state(const struct GallopJob *job, struct GallopJobState *out);

// Cancels a job, from any thread, at any time, as often as one likes; null is allowed. It ends soon after, which
// gallop_job_wait says.
void gallop_job_cancel(const struct GallopJob *job);

// The MP4 of a job that is completed. It lives as long as the job.
GallopStatus gallop_job_mp4(const struct GallopJob *job, const uint8_t **data, size_t *len);

// The frames of a job that is completed, as they were encoded.
GallopStatus gallop_job_frames(const struct GallopJob *job, struct GallopFrames *out);

// The sound of a job that is completed, as it was encoded.
GallopStatus gallop_job_audio(const struct GallopJob *job, struct GallopAudio *out);

// What a job that is completed made and how, as JSON: size, seed, times, warnings. `buf` and `len` as in gallop_last_error.
GallopStatus gallop_job_report_json(const struct GallopJob *job,
                                    char *buf,
                                    size_t *len);

// Cancels a job that has not ended, waits for its end, and frees it with all that was borrowed from it; null is allowed.
// In a progress callback it does not wait.
void gallop_job_free(struct GallopJob *job);

// The sentence to the last failure of a call of this thread, "" before the first. Like all texts it is copied to `buf`, which has
// room for `*len` bytes; `*len` becomes the bytes that it takes with its zero. With a null `buf` only that is said.
GallopStatus gallop_last_error(char *buf,
                               size_t *len);

// Gives the lines of the log of all engines to `log` from now on, or with a null pointer to nobody. A line that is being told
// meanwhile may still arrive.
void gallop_set_log(GallopLog log,
                    void *user);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GALLOP_H */
