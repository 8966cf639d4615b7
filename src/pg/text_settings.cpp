#include "pg/text_settings.hpp"

#include "pg/owner.hpp"

namespace kms::pg {
namespace {

// To set one and to put it back takes longer than to look.
void set_unless_so(const char* setting, const char* value) {
    if (strcmp(GetConfigOption(setting, false, false), value) != 0) {
        set_meanwhile(setting, value);
    }
}

}  // namespace

int fix_text_settings() {
    constexpr const char* settings[][2] = {
        {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},
        {"lc_monetary", "C"},      {"extra_float_digits", "1"},   {"bytea_output", "hex"},
        {"array_nulls", "on"},     {"xmloption", "content"},      {"quote_all_identifiers", "off"}};
    const int level = fix_search_path();
    for (const auto& [setting, value] : settings) {
        set_unless_so(setting, value);
    }
    return level;
}

}  // namespace kms::pg
