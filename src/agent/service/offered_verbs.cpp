#include "agent/service/offered_verbs.hpp"

#include <algorithm>
#include <array>

#include "wire/verbs.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

namespace verb = wire::verb;

constexpr std::array<std::string_view, 15> all_names = {
    verb::describe, verb::get,        verb::encrypt, verb::decrypt, verb::wrap,
    verb::unwrap,   verb::encrypt_as, verb::mac,     verb::create,  verb::import,
    verb::rotate,   verb::list,       verb::enable,  verb::disable, verb::destroy};

}  // namespace

std::span<const std::string_view> OfferedVerbs::names() {
    return all_names;
}

bool OfferedVerbs::has(std::string_view verb) const {
    return std::ranges::find(named_, verb) != named_.end();
}

bool OfferedVerbs::includes(std::string_view capability) const {
    if (named_.empty()) {
        return true;
    }
    if (capability == wire::capability::no_export || capability == wire::capability::purpose) {
        return has(verb::create);
    }
    if (capability == wire::capability::after) {
        return has(verb::create) || has(verb::rotate);
    }
    return capability == verb::hello || capability == verb::identify || capability == verb::ping ||
           has(capability);
}

}  // namespace kms::agent
