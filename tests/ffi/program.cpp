// The header in C++.

#include "gallop.h"

static_assert(sizeof(GallopStatus) == 4, "an enum of a fixed size");

int made(const char *prompt) {
    GallopRequest request;
    gallop_request_init(&request, sizeof request);
    request.prompt = prompt;
    request.progress = [](const GallopJobState *state, void *) { return int(state->progress > 50); };
    GallopEngine *engine = nullptr;
    GallopJob *job = nullptr;
    GallopStatus status = gallop_engine_open(nullptr, nullptr, &engine);
    if (status == GALLOP_STATUS_OK) status = gallop_submit(engine, &request, &job);
    if (status == GALLOP_STATUS_OK) status = gallop_job_wait(job, -1);
    gallop_job_free(job);
    gallop_engine_close(engine);
    return status;
}
