#include "pg/values/text_settings.hpp"

#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// To set one and to put it back takes longer than to look.
void set_unless_so(const char* setting, const char* value) {
    if (strcmp(GetConfigOption(setting, false, false), value) != 0) {
        set_meanwhile(setting, value);
    }
}

// What the settings of these names are kept in.
struct TextVariables {
    int date_style;
    int date_order;
    int interval_style;
    int float_digits;
    pg_tz* zone;
};

void set_variables(const TextVariables& variables) {
    DateStyle = variables.date_style;
    DateOrder = variables.date_order;
    IntervalStyle = variables.interval_style;
    extra_float_digits = variables.float_digits;
    session_timezone = variables.zone;
}

}  // namespace

void run_with_text_variables(void (*act)(void*), void* state) {
    const TextVariables before = {DateStyle, DateOrder, IntervalStyle, extra_float_digits,
                                  session_timezone};
    set_variables({USE_ISO_DATES, DATEORDER_YMD, INTSTYLE_POSTGRES, 1, pg_tzset("UTC")});
    PG_TRY();
    { act(state); }
    PG_FINALLY();
    { set_variables(before); }
    PG_END_TRY();
}

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
