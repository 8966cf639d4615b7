// What the text of a value depends on: PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// The same in every session, until the level that is returned is given to AtEOXact_GUC(false,
// level). For conversions of ours alone: what users have written sees the session's own settings.
int fix_text_settings();

// What the text of a type's values depends on.
enum class TextDependsOn {
    nothing,
    variables,  // of PostgreSQL's own types of time and floating-point numbers, a few: set in no
                // time
    settings,   // whatever somebody's type looks at
};

// The same in every session while `act` runs, which converts values and nothing else.
void run_with_text_variables(void (*act)(void*), void* state);

template <typename Act>
auto with_lasting_text(TextDependsOn depends_on, Act&& act) {
    if (depends_on == TextDependsOn::nothing) {
        return act();
    }
    if (depends_on == TextDependsOn::variables) {
        struct {
            Act& act;
            decltype(act()) result;
        } call = {act, {}};
        run_with_text_variables(
            [](void* state) {
                auto& running = *static_cast<decltype(call)*>(state);
                running.result = running.act();
            },
            &call);
        return call.result;
    }
    const int level = fix_text_settings();
    auto result = act();
    AtEOXact_GUC(false, level);
    return result;
}

}  // namespace kms::pg
