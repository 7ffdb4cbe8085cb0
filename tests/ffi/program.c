// A program that uses libgallop: what it is told to do by its argument. It ends with 0 if all is as it should be.

#include "gallop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);            \
            print_error();                                                     \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static void print_error(void) {
    char text[1000] = "";
    size_t length = sizeof text;
    gallop_last_error(text, &length);
    fprintf(stderr, "last error: %s\n", text);
}

static int error_has(const char *part) {
    char text[1000];
    size_t length = sizeof text;
    CHECK(gallop_last_error(text, &length) == GALLOP_STATUS_OK);
    CHECK(length == strlen(text) + 1);
    return strstr(text, part) != NULL;
}

static GallopEngine *open_engine(void) {
    GallopEngine *engine = NULL;
    CHECK(gallop_engine_open(NULL, "{\"device\":\"cpu\"}", &engine) == GALLOP_STATUS_OK);
    return engine;
}

static GallopRequest small(double seconds) {
    GallopRequest request;
    gallop_request_init(&request, sizeof request);
    request.prompt = "A red ball bounces";
    request.width = 32;
    request.height = 32;
    request.seconds = seconds;
    request.seed = 7;
    return request;
}

// FNV-1a.
static uint64_t hash(const uint8_t *bytes, size_t count) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

// The hash of a clip, all of which is looked at.
static uint64_t look_at(GallopJob *job, double seconds) {
    const uint8_t *mp4 = NULL;
    size_t length = 0;
    CHECK(gallop_job_mp4(job, &mp4, &length) == GALLOP_STATUS_OK);
    CHECK(length > 500 && memcmp(mp4 + 4, "ftyp", 4) == 0);
    GallopFrames frames;
    CHECK(gallop_job_frames(job, &frames) == GALLOP_STATUS_OK);
    CHECK(frames.width == 32 && frames.height == 32 && frames.fps == 25.0);
    CHECK(frames.count == (size_t)(seconds * 25 + 0.5));
    uint64_t of_frames = hash(frames.rgb, frames.count * 32 * 32 * 3);
    GallopAudio audio;
    CHECK(gallop_job_audio(job, &audio) == GALLOP_STATUS_OK);
    CHECK(audio.rate == 44100 && audio.channels == 2 && audio.count == frames.count * 1764);
    float loudest = 0;
    for (size_t i = 0; i < 2 * audio.count; i++)
        if (audio.samples[i] > loudest) loudest = audio.samples[i];
    CHECK(loudest > 0.0f && loudest < 4.0f);
    size_t needs = 0;
    CHECK(gallop_job_report_json(job, NULL, &needs) == GALLOP_STATUS_OK);
    char *report = malloc(needs);
    CHECK(report != NULL);
    CHECK(gallop_job_report_json(job, report, &needs) == GALLOP_STATUS_OK);
    CHECK(strlen(report) + 1 == needs);
    CHECK(strstr(report, "\"seed\":7,") && strstr(report, "\"size\":\"32x32\""));
    free(report);
    return hash(mp4, length) ^ of_frames;
}

struct heard {
    int calls, last, cancel_at, tries_all;
    GallopJob *job;
};

static int hear(const GallopJobState *state, void *user) {
    struct heard *heard = user;
    CHECK(state->status == GALLOP_JOB_STATUS_RUNNING);
    CHECK(state->progress >= heard->last && state->progress < 100);
    CHECK(state->stage >= GALLOP_STAGE_TEXT && state->stage <= GALLOP_STAGE_MUX);
    heard->last = state->progress;
    heard->calls++;
    // The job is known once gallop_submit has returned, and that may be later.
    if (heard->tries_all && heard->job) {
        GallopJobState own;
        CHECK(gallop_job_state(heard->job, &own) == GALLOP_STATUS_OK);
        CHECK(gallop_job_wait(heard->job, -1) == GALLOP_STATUS_INVALID_ARGUMENT);
        gallop_job_cancel(heard->job);
    }
    return heard->cancel_at && state->stage >= heard->cancel_at;
}

static void normal(double seconds) {
    GallopEngine *engine = open_engine();
    struct heard heard = {0};
    GallopRequest request = small(seconds);
    request.progress = hear;
    request.user = &heard;
    GallopJob *job = NULL;
    CHECK(gallop_submit(engine, &request, &job) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(job, -1) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(job, 0) == GALLOP_STATUS_OK);
    CHECK(heard.calls > 8 && heard.last > 50);
    GallopJobState state;
    CHECK(gallop_job_state(job, &state) == GALLOP_STATUS_OK);
    CHECK(state.status == GALLOP_JOB_STATUS_COMPLETED && state.progress == 100);
    uint64_t first = look_at(job, seconds);
    gallop_job_cancel(job);
    CHECK(look_at(job, seconds) == first);
    // It outlives its engine.
    gallop_engine_close(engine);
    printf("%llx\n", (unsigned long long)look_at(job, seconds));
    gallop_job_free(job);
}

static void *cancel(void *job) {
    for (int i = 0; i < 100; i++) gallop_job_cancel(job);
    return NULL;
}

static void cancelled_by_another_thread(void) {
    GallopEngine *engine = open_engine();
    GallopRequest request = small(10);
    GallopJob *first = NULL, *second = NULL;
    CHECK(gallop_submit(engine, &request, &first) == GALLOP_STATUS_OK);
    CHECK(gallop_submit(engine, &request, &second) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(first, 20) == GALLOP_STATUS_TIMEOUT);
    const uint8_t *mp4;
    size_t length;
    CHECK(gallop_job_mp4(first, &mp4, &length) == GALLOP_STATUS_NOT_READY);
    // One that waits ends at once, without its turn.
    gallop_job_cancel(second);
    CHECK(gallop_job_wait(second, 0) == GALLOP_STATUS_CANCELLED && error_has("cancelled"));
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, cancel, first) == 0);
    CHECK(gallop_job_wait(first, 60000) == GALLOP_STATUS_CANCELLED);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    GallopJobState state;
    CHECK(gallop_job_state(first, &state) == GALLOP_STATUS_OK);
    CHECK(state.status == GALLOP_JOB_STATUS_CANCELLED && state.progress < 100);
    CHECK(gallop_job_mp4(first, &mp4, &length) == GALLOP_STATUS_CANCELLED);
    gallop_job_free(first);
    gallop_job_free(second);
    // Freed while it is being made, and closed while one is.
    CHECK(gallop_submit(engine, &request, &first) == GALLOP_STATUS_OK);
    gallop_job_free(first);
    CHECK(gallop_submit(engine, &request, &first) == GALLOP_STATUS_OK);
    CHECK(gallop_submit(engine, &request, &second) == GALLOP_STATUS_OK);
    gallop_engine_close(engine);
    CHECK(gallop_job_wait(first, 0) == GALLOP_STATUS_CANCELLED);
    CHECK(gallop_job_wait(second, 0) == GALLOP_STATUS_CANCELLED);
    gallop_job_free(first);
    gallop_job_free(second);
}

static void cancelled_by_the_callback(void) {
    GallopEngine *engine = open_engine();
    struct heard heard = {.cancel_at = GALLOP_STAGE_BASE};
    GallopRequest request = small(1);
    request.progress = hear;
    request.user = &heard;
    GallopJob *job = NULL;
    CHECK(gallop_submit(engine, &request, &job) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(job, -1) == GALLOP_STATUS_CANCELLED);
    GallopJobState state;
    CHECK(gallop_job_state(job, &state) == GALLOP_STATUS_OK);
    CHECK(state.stage == GALLOP_STAGE_BASE && heard.calls > 0);
    gallop_job_free(job);
    // The callback calls back, behind a job that gives this thread the time to say which job it is.
    struct heard calls = {.tries_all = 1};
    request.progress = NULL;
    GallopJob *before = NULL;
    CHECK(gallop_submit(engine, &request, &before) == GALLOP_STATUS_OK);
    request.progress = hear;
    request.user = &calls;
    CHECK(gallop_submit(engine, &request, &calls.job) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(before, -1) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(calls.job, -1) == GALLOP_STATUS_CANCELLED);
    CHECK(calls.calls == 1);
    gallop_job_free(before);
    gallop_job_free(calls.job);
    gallop_engine_close(engine);
}

static int lines;

static void keep_line(int level, const char *line, void *user) {
    CHECK(level == GALLOP_LOG_LEVEL_WARNING || level == GALLOP_LOG_LEVEL_INFO);
    CHECK(strlen(line) > 3 && user == &lines);
    lines++;
}

static void errors(const char *version) {
    CHECK(gallop_abi_version() == GALLOP_ABI_VERSION);
    CHECK(strcmp(gallop_version(), version) == 0);
    CHECK(error_has(""));
    GallopEngine *engine = (GallopEngine *)&lines;
    CHECK(gallop_engine_open("no/such/folder", NULL, &engine) == GALLOP_STATUS_NOT_INSTALLED);
    CHECK(engine == NULL && error_has("no/such/folder"));
    CHECK(gallop_engine_open(NULL, "{\"device\":\"abacus\"}", &engine) == GALLOP_STATUS_INVALID_ARGUMENT);
    CHECK(error_has("`abacus`"));
    CHECK(gallop_engine_open(NULL, "{\"devise\":\"cpu\"}", &engine) == GALLOP_STATUS_INVALID_ARGUMENT);
    CHECK(gallop_engine_open(NULL, NULL, NULL) == GALLOP_STATUS_INVALID_ARGUMENT && error_has("`out`"));
    gallop_set_log(keep_line, &lines);
    engine = open_engine();
    CHECK(lines == 1);
    gallop_set_log(NULL, NULL);
    char text[10];
    size_t length = sizeof text;
    CHECK(gallop_engine_info_json(engine, text, &length) == GALLOP_STATUS_INVALID_ARGUMENT);
    CHECK(length > sizeof text && error_has("`buf` has 10 bytes"));
    GallopRequest request = small(1);
    GallopJob *job = (GallopJob *)&lines;
    request.extra_json = "{\"sede\":1}";
    CHECK(gallop_submit(engine, &request, &job) == GALLOP_STATUS_INVALID_ARGUMENT);
    CHECK(job == NULL && error_has("did you mean `seed`"));
    request = small(3600000);
    CHECK(gallop_plan_json(engine, &request, NULL, &length) == GALLOP_STATUS_INVALID_ARGUMENT);
    CHECK(error_has("`seconds`"));
    CHECK(gallop_submit(engine, &request, &job) == GALLOP_STATUS_OK);
    CHECK(gallop_job_wait(job, -1) == GALLOP_STATUS_INVALID_ARGUMENT && error_has("`seconds`"));
    gallop_job_free(job);
    request = small(1);
    request.extra_json = "{\"scale\":2}";
    CHECK(gallop_plan_json(engine, &request, NULL, &length) == GALLOP_STATUS_OK);
    char *plan = malloc(length);
    CHECK(plan && gallop_plan_json(engine, &request, plan, &length) == GALLOP_STATUS_OK);
    CHECK(strstr(plan, "\"size\":\"64x64\"") && strstr(plan, "\"stage\":\"base\""));
    free(plan);
    CHECK(gallop_submit(NULL, &request, &job) == GALLOP_STATUS_INVALID_ARGUMENT && error_has("`engine`"));
    CHECK(gallop_submit(engine, NULL, &job) == GALLOP_STATUS_INVALID_ARGUMENT && error_has("`request`"));
    CHECK(gallop_job_wait(NULL, 0) == GALLOP_STATUS_INVALID_ARGUMENT && error_has("`job`"));
    CHECK(gallop_last_error(NULL, NULL) == GALLOP_STATUS_INVALID_ARGUMENT);
    gallop_request_init(NULL, sizeof request);
    gallop_job_cancel(NULL);
    gallop_job_free(NULL);
    gallop_engine_close(NULL);
    gallop_engine_close(engine);
}

static void two_engines(void) {
    GallopEngine *engines[2] = {open_engine(), open_engine()};
    struct heard heard[2] = {{0}, {.cancel_at = GALLOP_STAGE_DECODE_VIDEO}};
    GallopJob *jobs[2];
    for (int i = 0; i < 2; i++) {
        GallopRequest request = small(1);
        request.progress = hear;
        request.user = &heard[i];
        CHECK(gallop_submit(engines[i], &request, &jobs[i]) == GALLOP_STATUS_OK);
    }
    CHECK(gallop_job_wait(jobs[1], -1) == GALLOP_STATUS_CANCELLED);
    gallop_job_free(jobs[1]);
    gallop_engine_close(engines[1]);
    CHECK(gallop_job_wait(jobs[0], -1) == GALLOP_STATUS_OK);
    printf("%llx\n", (unsigned long long)look_at(jobs[0], 1));
    gallop_job_free(jobs[0]);
    gallop_engine_close(engines[0]);
}

#define FIELD(structure, field) printf(#structure "." #field " %zu\n", offsetof(structure, field))

static void layout(void) {
    printf("GallopRequest %zu\n", sizeof(GallopRequest));
    FIELD(GallopRequest, prompt);
    FIELD(GallopRequest, seconds);
    FIELD(GallopRequest, audio_rate);
    FIELD(GallopRequest, image_rgb);
    FIELD(GallopRequest, audio_frames);
    FIELD(GallopRequest, audio_channels);
    FIELD(GallopRequest, progress);
    FIELD(GallopRequest, extra_json);
    printf("GallopJobState %zu\n", sizeof(GallopJobState));
    FIELD(GallopJobState, progress);
    printf("GallopFrames %zu\n", sizeof(GallopFrames));
    FIELD(GallopFrames, fps);
    printf("GallopAudio %zu\n", sizeof(GallopAudio));
    FIELD(GallopAudio, channels);
    printf("GALLOP_STATUS_INTERNAL %d\n", GALLOP_STATUS_INTERNAL);
    printf("GALLOP_STAGE_MUX %d\n", GALLOP_STAGE_MUX);
    printf("GALLOP_JOB_STATUS_CANCELLED %d\n", GALLOP_JOB_STATUS_CANCELLED);
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (strcmp(what, "normal") == 0) normal(1);
    else if (strcmp(what, "shortest") == 0) normal(0.04);
    else if (strcmp(what, "thread") == 0) cancelled_by_another_thread();
    else if (strcmp(what, "callback") == 0) cancelled_by_the_callback();
    else if (strcmp(what, "errors") == 0) errors(count > 2 ? arguments[2] : "");
    else if (strcmp(what, "two") == 0) two_engines();
    else if (strcmp(what, "layout") == 0) layout();
    else return 2;
    return 0;
}
