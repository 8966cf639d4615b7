#include "pg/text_settings.hpp"

namespace kms::pg {

int fix_text_settings() {
    constexpr const char* settings[][2] = {
        {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},
        {"lc_monetary", "C"},      {"extra_float_digits", "1"},   {"bytea_output", "hex"}};
    const int level = NewGUCNestLevel();
    for (const auto& [setting, value] : settings) {
        (void)set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
                                0, false);
    }
    return level;
}

}  // namespace kms::pg
