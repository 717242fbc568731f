/* The policy table. */
#include "gearshift/policy.h"

static const gs_policy policies[GS_POLICY_COUNT] = {
    [GS_POLICY_OP] = {"op", GS_ROLE_SMALL, GS_ACTION_SMALL, true, true},
    [GS_POLICY_OP_AHEAD] = {"op-ahead", GS_ROLE_NONE, GS_ACTION_SMALL, true, true},
    [GS_POLICY_AUX_SM] = {"aux-sm", GS_ROLE_AUX, GS_ACTION_SMALL, true, false},
    [GS_POLICY_AUX_HLC] = {"aux-hlc", GS_ROLE_AUX, GS_ACTION_SMALL, true, false},
    [GS_POLICY_RANDOM] = {"random", GS_ROLE_NONE, GS_ACTION_SMALL, true, false},
    [GS_POLICY_EVERY] = {"every", GS_ROLE_NONE, GS_ACTION_SMALL, true, false},
    [GS_POLICY_HOLD] = {"hold", GS_ROLE_NONE, GS_ACTION_HOLD, true, false},
    [GS_POLICY_ALWAYS_SMALL] = {"always-small", GS_ROLE_NONE, GS_ACTION_SMALL, false, false},
    [GS_POLICY_ALWAYS_LARGE] = {"always-large", GS_ROLE_NONE, GS_ACTION_LARGE, false, false},
    [GS_POLICY_ANCHOR] = {"anchor", GS_ROLE_SMALL, GS_ACTION_SMALL, true, true},
};

const gs_policy *gs_policy_of(gs_policy_code code)
{
    return &policies[code];
}
