// What the text of a value depends on: act one.
#pragma once

#include "pg/pg.hpp"

namespace kms::pg {

// The same in every session, until the level that is returned is given to AtEOXact_GUC(false,
// level). For conversions of ours alone: what users have written sees the session's own settings.
int fix_text_settings();

}  // namespace kms::pg
