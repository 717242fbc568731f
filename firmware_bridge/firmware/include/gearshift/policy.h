/* The portable policies and the codes by which decisions are told; runtime/decide/policies.py and
 * runtime/types.py name the same things, a test holds the numbers together. */
#ifndef GEARSHIFT_POLICY_H
#define GEARSHIFT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* In the order of runtime/decide/policy_registry.py's BUILT_IN. */
typedef enum gs_policy_code {
    GS_POLICY_OP = 0,
    GS_POLICY_OP_AHEAD = 1,
    GS_POLICY_AUX_SM = 2,
    GS_POLICY_AUX_HLC = 3,
    GS_POLICY_RANDOM = 4,
    GS_POLICY_EVERY = 5,
    GS_POLICY_HOLD = 6,
    GS_POLICY_ALWAYS_SMALL = 7,
    GS_POLICY_ALWAYS_LARGE = 8,
    GS_POLICY_ANCHOR = 9,
    GS_POLICY_COUNT = 10
} gs_policy_code;

/* In the order of runtime/types.py's Reason. */
typedef enum gs_reason {
    GS_REASON_EASY = 0,
    GS_REASON_HARD = 1,
    GS_REASON_CONSTANT = 2,
    GS_REASON_FIRST_FRAME = 3,
    GS_REASON_GAP = 4,
    GS_REASON_SIGNAL_NAN = 5,
    GS_REASON_HELD = 6,
    GS_REASON_SMALL_FAILED = 7,
    GS_REASON_LARGE_FAILED = 8,
    GS_REASON_PROBE_FAILED = 9,
    GS_REASON_DEADLINE = 10,
    GS_REASON_BOTH_FAILED = 11
} gs_reason;

/* In the order of runtime/types.py's NetworkRole; a set of networks has bit `role` set. */
typedef enum gs_role { GS_ROLE_SMALL = 0, GS_ROLE_LARGE = 1, GS_ROLE_AUX = 2, GS_ROLE_NONE = 255 } gs_role;

/* Bits of gs_estimate.flags, as of runtime/types.py's EstimateFlag. */
enum { GS_FLAG_DEGRADED = 1, GS_FLAG_LATE = 2, GS_FLAG_HELD = 4, GS_FLAG_LOST = 8 };

typedef enum gs_action { GS_ACTION_SMALL, GS_ACTION_LARGE, GS_ACTION_HOLD } gs_action;

/* One row of the policy table. has_signal false: always `when_easy`. uses_history: the signal is +inf
 * on the first frame and after a gap. */
typedef struct gs_policy {
    const char *name;
    gs_role probe; /* GS_ROLE_NONE: nothing is run before the choice */
    gs_action when_easy;
    bool has_signal;
    bool uses_history;
} gs_policy;

/* The policy of a code below GS_POLICY_COUNT. */
const gs_policy *gs_policy_of(gs_policy_code code);

#endif
