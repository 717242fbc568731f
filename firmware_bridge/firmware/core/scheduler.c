/* The adaptive loop; runtime/scheduling/scheduler.py is its twin and tests hold them equal. */
#include "gearshift/scheduler.h"

#include "difficulty.h"
#include "gearshift/portable.h"

#define FOLLOWS 0.125      /* share of a new run in what large is expected to take */
#define FADES (63.0 / 64.0) /* while large is skipped, or one slow run would lock it out for good */

typedef struct choice {
    bool hard;
    float signal;
    gs_reason reason;
} choice;

static void copy_values(float *to, const float *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static void copy_table(float *to, const gs_table_f32 *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static int64_t now_ns(const gs_scheduler *scheduler)
{
    return scheduler->clock.now_ns(scheduler->clock.context);
}

static uint64_t instructions(const gs_scheduler *scheduler)
{
    const gs_clock *clock = &scheduler->clock;
    return clock->instructions != NULL ? clock->instructions(clock->context) : 0;
}

static void clear_stage(gs_stage *stage)
{
    stage->ran = false;
    stage->ok = false;
    stage->output_valid = false;
    stage->time_ns = 0;
    stage->instructions = 0;
}

/* Run the network of a role; whether it gave a valid output. */
static bool run_stage(gs_scheduler *scheduler, gs_role role, const uint8_t *frame)
{
    gs_stage *stage = &scheduler->stages[role];
    stage->ran = true;
    uint64_t counted = instructions(scheduler);
    int64_t started = now_ns(scheduler);
    gs_status status = stage->engine.run(stage->engine.context, frame, stage->output);
    stage->output_valid = status == GS_OK;
    stage->ok = stage->output_valid && gs_is_valid_output(stage->output, stage->engine.outputs);
    stage->time_ns = now_ns(scheduler) - started;
    stage->instructions = instructions(scheduler) - counted;
    return stage->ok;
}

/* Small's output is reused where it was the probe. */
static bool small_answers(gs_scheduler *scheduler, const uint8_t *frame)
{
    const gs_stage *small = &scheduler->stages[GS_ROLE_SMALL];
    return small->ran ? small->ok : run_stage(scheduler, GS_ROLE_SMALL, frame);
}

/* The selection slot: whether to shift up, and why. */
static choice select_network(const gs_scheduler *scheduler, int64_t time_ns)
{
    const gs_policy *policy = scheduler->policy;
    const gs_history *history = &scheduler->history;
    float threshold = scheduler->configuration.threshold;
    if (!policy->has_signal) {
        return (choice){false, GS_NAN, GS_REASON_CONSTANT};
    }
    gs_signal_input input = {
        .age = history->accepted_known ? gs_elapsed_s(time_ns, history->accepted_time) : GS_INFINITY,
        .frames_since_large =
            history->large_known ? (float)(history->frames_since_large + 1u) : GS_INFINITY,
        .seconds_since_large =
            history->large_known ? gs_elapsed_s(time_ns, history->large_time) : GS_INFINITY,
    };
    if (policy->probe != GS_ROLE_NONE) {
        const gs_stage *probe = &scheduler->stages[policy->probe];
        if (!probe->ok) {
            return (choice){true, GS_INFINITY, GS_REASON_PROBE_FAILED};
        }
        input.probe = probe->output;
        input.probe_outputs = probe->engine.outputs;
    }
    if (policy->uses_history) {
        if (!history->accepted_known) {
            return (choice){true, GS_INFINITY, GS_REASON_FIRST_FRAME};
        }
        if (input.age > scheduler->configuration.max_gap_s) {
            return (choice){true, GS_INFINITY, GS_REASON_GAP};
        }
    }
    float value = gs_signal(&scheduler->configuration, history, &input);
    if (gs_is_nan(value)) {
        bool missing = policy->uses_history && !history->has_previous;
        return (choice){true, GS_INFINITY, missing ? GS_REASON_FIRST_FRAME : GS_REASON_SIGNAL_NAN};
    }
    if (value > threshold || value == GS_INFINITY || threshold == -GS_INFINITY) {
        return (choice){true, value, GS_REASON_HARD};
    }
    return (choice){false, value, GS_REASON_EASY};
}

/* Whether large, started now, is expected to miss the deadline. */
static bool must_skip_large(gs_scheduler *scheduler, int64_t started)
{
    int64_t deadline = scheduler->configuration.deadline_ns;
    if (deadline < 0) {
        return false;
    }
    int64_t elapsed = now_ns(scheduler) - started;
    if ((double)elapsed + scheduler->large_time_ns <= (double)deadline) {
        return false;
    }
    scheduler->large_time_ns *= FADES;
    return true;
}

/* Run what was chosen, or, where that fails or is overridden, what is left. Returns flags. */
static uint8_t run_networks(gs_scheduler *scheduler, const uint8_t *frame, int64_t started, bool hard,
                            gs_reason *reason)
{
    gs_action action = hard ? GS_ACTION_LARGE : scheduler->policy->when_easy;
    if (action == GS_ACTION_HOLD) {
        if (scheduler->history.accepted_known) {
            *reason = GS_REASON_HELD;
            return GS_FLAG_HELD;
        }
        *reason = GS_REASON_FIRST_FRAME;
        action = GS_ACTION_LARGE;
    }
    if (action == GS_ACTION_SMALL) {
        if (!small_answers(scheduler, frame)) {
            (void)run_stage(scheduler, GS_ROLE_LARGE, frame);
            *reason = GS_REASON_SMALL_FAILED;
        }
        return 0;
    }
    if (must_skip_large(scheduler, started)) {
        if (!small_answers(scheduler, frame)) {
            (void)run_stage(scheduler, GS_ROLE_LARGE, frame);
        }
        *reason = GS_REASON_DEADLINE;
        return GS_FLAG_DEGRADED;
    }
    if (!run_stage(scheduler, GS_ROLE_LARGE, frame)) {
        if (!scheduler->stages[GS_ROLE_SMALL].ran) {
            (void)run_stage(scheduler, GS_ROLE_SMALL, frame);
        }
        *reason = GS_REASON_LARGE_FAILED;
    }
    return 0;
}

/* fused = large + share * (small - large), angles wrapped, in that order. */
static void fuse(const gs_configuration *configuration, const float *small, const float *large,
                 float *fused)
{
    gs_difference(small, large, configuration->components, configuration->angular, fused);
    for (uint32_t i = 0; i < configuration->components; i++) {
        float moved = configuration->fusion_share[i] * fused[i];
        fused[i] = large[i] + moved;
        if ((configuration->angular >> i & 1u) != 0) {
            fused[i] = gs_wrap_angle(fused[i]);
        }
    }
}

/* Combine and filter what the networks said, remember it, and say which one answered. */
static gs_role accept_output(gs_scheduler *scheduler, int64_t time_ns)
{
    const gs_stage *small = &scheduler->stages[GS_ROLE_SMALL];
    const gs_stage *large = &scheduler->stages[GS_ROLE_LARGE];
    const gs_configuration *configuration = &scheduler->configuration;
    uint32_t n = configuration->components;
    if (large->ran && configuration->deadline_ns >= 0) {
        double before = scheduler->large_time_ns, time = (double)large->time_ns;
        before = before != 0 ? before : time;
        scheduler->large_time_ns = before + (time - before) * FOLLOWS;
    }
    bool both = large->ok && small->ok;
    gs_role answered;
    float accepted[GS_MAX_COMPONENTS];
    const gs_table_f32 *deviation;
    if (large->ok) {
        answered = GS_ROLE_LARGE;
        copy_values(accepted, large->output, n);
        deviation = configuration->deviation_large;
        if (both && configuration->combination == GS_COMBINE_FUSION) {
            fuse(configuration, small->output, large->output, accepted);
            deviation = configuration->deviation_fused;
        }
    } else if (small->ok) {
        answered = GS_ROLE_SMALL;
        copy_values(accepted, small->output, n);
        deviation = configuration->deviation_small;
    } else {
        gs_history_skip(&scheduler->history);
        return GS_ROLE_NONE;
    }
    gs_history_update(&scheduler->history, n, configuration->max_gap_s, time_ns, accepted, large->ok,
                      small->output, both);
    copy_values(scheduler->last_values, accepted, n);
    copy_table(scheduler->last_deviation, deviation, n);
    if (configuration->filter != GS_FILTER_NONE) {
        gs_filter_update(&scheduler->filter, configuration, time_ns, accepted, small->output,
                         large->output, small->ok, large->ok);
        copy_values(scheduler->last_values, scheduler->filter.value, n);
    }
    return answered;
}

static gs_status check_engines(const gs_configuration *configuration, const gs_engine *engines,
                               uint32_t count)
{
    if (configuration->small >= count || configuration->large >= count ||
        configuration->aux >= (int32_t)count) {
        return GS_NO_NETWORK;
    }
    const gs_engine *small = &engines[configuration->small], *large = &engines[configuration->large];
    const gs_engine *both[2] = {small, large};
    for (uint32_t i = 0; i < 2u; i++) {
        if (both[i]->kind != GS_NETWORK_REGRESSION || both[i]->outputs != configuration->components ||
            both[i]->angular != configuration->angular || both[i]->height != small->height ||
            both[i]->width != small->width) {
            return GS_MISMATCH;
        }
    }
    if (configuration->aux >= 0) {
        const gs_engine *aux = &engines[configuration->aux];
        if (aux->kind != GS_NETWORK_LOCALISER || aux->height != small->height ||
            aux->width != small->width || aux->outputs < 2 || aux->outputs > GS_MAX_OUTPUTS ||
            (configuration->classes != 0 && configuration->classes != aux->outputs)) {
            return GS_MISMATCH;
        }
    }
    return GS_OK;
}

gs_status gs_scheduler_configure(gs_scheduler *scheduler, const uint8_t *bytes, size_t length,
                                 const gs_engine *engines, uint32_t count, gs_clock clock)
{
    gs_configuration configuration;
    gs_status status = gs_configuration_open(bytes, length, &configuration);
    if (status == GS_OK) {
        status = check_engines(&configuration, engines, count);
    }
    if (status != GS_OK) {
        return status;
    }
    scheduler->configuration = configuration;
    scheduler->policy = gs_policy_of(configuration.policy);
    scheduler->clock = clock;
    scheduler->large_time_ns = 0;
    scheduler->stages[GS_ROLE_SMALL].engine = engines[configuration.small];
    scheduler->stages[GS_ROLE_LARGE].engine = engines[configuration.large];
    scheduler->stages[GS_ROLE_AUX].engine =
        configuration.aux >= 0 ? engines[configuration.aux] : (gs_engine){0};
    scheduler->configured = true;
    gs_scheduler_reset(scheduler);
    return GS_OK;
}

void gs_scheduler_reset(gs_scheduler *scheduler)
{
    if (!scheduler->configured) {
        return;
    }
    gs_history_reset(&scheduler->history, scheduler->configuration.components);
    gs_filter_reset(&scheduler->filter, &scheduler->configuration);
    for (uint32_t role = 0; role < 3u; role++) {
        clear_stage(&scheduler->stages[role]);
    }
    for (uint32_t i = 0; i < GS_MAX_COMPONENTS; i++) {
        scheduler->last_values[i] = GS_NAN;
        scheduler->last_deviation[i] = GS_NAN;
    }
}

gs_status gs_scheduler_set_threshold(gs_scheduler *scheduler, float threshold)
{
    if (!scheduler->configured) {
        return GS_NOT_CONFIGURED;
    }
    if (gs_is_nan(threshold)) {
        return GS_BAD_VALUE;
    }
    scheduler->configuration.threshold = threshold;
    return GS_OK;
}

static void describe(const gs_scheduler *scheduler, gs_role answered, choice chosen, uint8_t flags,
                     gs_estimate *estimate)
{
    const gs_stage *aux = &scheduler->stages[GS_ROLE_AUX];
    *estimate = (gs_estimate){
        .components = scheduler->configuration.components,
        .presence = aux->ok ? 1.0f - gs_softmax_last(aux->output, aux->engine.outputs) : GS_NAN,
        .signal = chosen.signal,
        .threshold = scheduler->configuration.threshold,
        .answered = (uint8_t)answered,
        .reason = (uint8_t)chosen.reason,
        .flags = flags,
    };
    for (uint32_t role = 0; role < 3u; role++) {
        const gs_stage *stage = &scheduler->stages[role];
        estimate->networks |= (uint8_t)(stage->ran ? 1u << role : 0u);
        estimate->time_ns[role] = stage->time_ns;
        estimate->instructions[role] = stage->instructions;
    }
    for (uint32_t i = 0; i < estimate->components; i++) {
        bool lost = (flags & GS_FLAG_LOST) != 0;
        estimate->values[i] = lost ? GS_NAN : scheduler->last_values[i];
        estimate->deviation[i] = lost ? GS_NAN : scheduler->last_deviation[i];
    }
}

gs_status gs_scheduler_process(gs_scheduler *scheduler, const uint8_t *frame, int64_t capture_time_ns,
                               gs_estimate *estimate)
{
    if (!scheduler->configured) {
        return GS_NOT_CONFIGURED;
    }
    uint64_t counted = instructions(scheduler);
    int64_t started = now_ns(scheduler);
    for (uint32_t role = 0; role < 3u; role++) {
        clear_stage(&scheduler->stages[role]);
    }
    if (scheduler->policy->probe != GS_ROLE_NONE) {
        (void)run_stage(scheduler, scheduler->policy->probe, frame);
    }
    choice chosen = select_network(scheduler, capture_time_ns);
    uint8_t flags = run_networks(scheduler, frame, started, chosen.hard, &chosen.reason);
    gs_role answered = GS_ROLE_NONE;
    if ((flags & GS_FLAG_HELD) != 0) {
        gs_history_skip(&scheduler->history);
    } else {
        answered = accept_output(scheduler, capture_time_ns);
        if (answered == GS_ROLE_NONE) {
            /* Nothing is published, which outweighs a skipped deadline. */
            flags = GS_FLAG_LOST;
            chosen.reason = GS_REASON_BOTH_FAILED;
        }
    }
    for (uint32_t role = 0; role < 3u; role++) {
        if (scheduler->stages[role].ran != scheduler->stages[role].ok) {
            flags |= GS_FLAG_DEGRADED;
        }
    }
    describe(scheduler, answered, chosen, flags, estimate);
    int64_t total = now_ns(scheduler) - started;
    if (scheduler->configuration.deadline_ns >= 0 && total > scheduler->configuration.deadline_ns) {
        estimate->flags |= GS_FLAG_LATE;
    }
    estimate->time_ns[3] = total;
    estimate->instructions[3] = instructions(scheduler) - counted;
    return GS_OK;
}
