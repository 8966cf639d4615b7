#include "base/key_list.hpp"

#include <algorithm>
#include <charconv>
#include <new>

#include "base/escape.hpp"
#include "base/floor.hpp"

namespace kms {
namespace {

bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    const char lower = static_cast<char>(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Reads a list's text into its block. Every step returns what is wrong, or nullptr.
class Parser {
  public:
    Parser(std::string_view text, void* block)
        : text_(text),
          base_(static_cast<Byte*>(block)),
          list_(new (block) KeyList{0, true}),
          entries_(reinterpret_cast<Binding*>(base_ + sizeof(KeyList))),
          end_(static_cast<std::uint32_t>(key_list_size(text) - text.size())) {}

    std::optional<KeyListProblem> run() {
        const char* problem = parse_entries();
        if (problem == nullptr) {
            problem = sort_entries();
        }
        if (problem == nullptr) {
            return std::nullopt;
        }
        list_->count = 0;
        list_->valid = false;
        return KeyListProblem{problem, at_};
    }

  private:
    const char* parse_entries() {
        skip_blanks();
        while (at_ < text_.size()) {
            if (const char* problem = parse_entry()) {
                return problem;
            }
            skip_blanks();
            if (at_ == text_.size()) {
                return nullptr;
            }
            if (text_[at_] != ',') {
                return "a comma must stand between two bindings, and other bytes be written %XX";
            }
            ++at_;
            skip_blanks();
            if (at_ == text_.size()) {
                return "a binding must follow the comma";
            }
        }
        return nullptr;
    }

    const char* parse_entry() {
        if (list_->count == max_local_id) {
            return "there are more bindings than local ids";
        }
        Binding binding{};
        if (const char* problem = parse_local_id(binding)) {
            return problem;
        }
        skip_blanks();
        if (at_ == text_.size() || text_[at_] != '=') {
            return "an equals sign must follow the local id";
        }
        ++at_;
        skip_blanks();
        if (const char* problem = parse_identifier(binding)) {
            return problem;
        }
        entries_[list_->count++] = binding;
        return nullptr;
    }

    const char* parse_local_id(Binding& binding) {
        const char* first = text_.data() + at_;
        const char* last = text_.data() + text_.size();
        const auto [end, error] = std::from_chars(first, last, binding.local_id);
        if (error != std::errc() || binding.local_id < 1 || binding.local_id > max_local_id) {
            return "a binding must begin with a local id from 1 to 65535";
        }
        at_ += static_cast<std::size_t>(end - first);
        return nullptr;
    }

    const char* parse_identifier(Binding& binding) {
        binding.offset = end_;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '%') {
                if (!take_escape()) {
                    return "a percent sign must be followed by two hex digits";
                }
            } else if (stands_for_itself(Alphabet::identifier, static_cast<Byte>(c))) {
                base_[end_++] = static_cast<Byte>(c);
                ++at_;
            } else {
                break;
            }
        }
        binding.length = end_ - binding.offset;
        if (binding.length == 0) {
            return "a key identifier must follow the equals sign";
        }
        return binding.length > max_identifier ? "a key identifier has at most 1024 bytes"
                                               : nullptr;
    }

    bool take_escape() {
        if (text_.size() - at_ < 3) {
            return false;
        }
        const int high = hex_value(text_[at_ + 1]);
        const int low = hex_value(text_[at_ + 2]);
        if (high < 0 || low < 0) {
            return false;
        }
        base_[end_++] = static_cast<Byte>(high << 4 | low);
        at_ += 3;
        return true;
    }

    const char* sort_entries() {
        Binding* last = entries_ + list_->count;
        std::sort(entries_, last,
                  [](const Binding& a, const Binding& b) { return a.local_id < b.local_id; });
        const Binding* twice = std::adjacent_find(
            entries_, last,
            [](const Binding& a, const Binding& b) { return a.local_id == b.local_id; });
        return twice == last ? nullptr : "a local id is bound twice";
    }

    void skip_blanks() {
        while (at_ < text_.size() && is_blank(text_[at_])) {
            ++at_;
        }
    }

    std::string_view text_;
    Byte* base_;
    KeyList* list_;
    Binding* entries_;
    std::uint32_t end_;  // where the next byte of an identifier goes
    std::size_t at_ = 0;
};

void append_binding(std::string& text, std::int32_t local_id, ByteView identifier) {
    if (!text.empty()) {
        text += ", ";
    }
    text += std::to_string(local_id);
    text += '=';
    append_escaped(text, Alphabet::identifier, identifier);
}

}  // namespace

std::span<const Binding> KeyList::bindings() const {
    return {reinterpret_cast<const Binding*>(this + 1), count};
}

const Binding* KeyList::find(std::int32_t local_id) const {
    const auto all = bindings();
    const auto found = std::lower_bound(
        all.begin(), all.end(), local_id,
        [](const Binding& binding, std::int32_t id) { return binding.local_id < id; });
    return found != all.end() && found->local_id == local_id ? &*found : nullptr;
}

ByteView KeyList::identifier(const Binding& binding) const {
    return {reinterpret_cast<const Byte*>(this) + binding.offset, binding.length};
}

bool KeyList::binds(ByteView wanted) const {
    return std::ranges::any_of(bindings(), [&](const Binding& binding) {
        return std::ranges::equal(identifier(binding), wanted);
    });
}

// Everybody may write the text: its commas must not make the block much larger than it is.
std::size_t key_list_size(std::string_view text) {
    const auto commas = static_cast<std::size_t>(std::count(text.begin(), text.end(), ','));
    const std::size_t most = std::min<std::size_t>(commas + 1, max_local_id);
    return sizeof(KeyList) + most * sizeof(Binding) + text.size();
}

std::optional<KeyListProblem> parse_key_list(std::string_view text, void* block) {
    return Parser(text, block).run();
}

std::string without_binding(const KeyList& list, std::int32_t local_id) {
    std::string text;
    for (const Binding& binding : list.bindings()) {
        if (binding.local_id != local_id) {
            append_binding(text, binding.local_id, list.identifier(binding));
        }
    }
    return text;
}

std::string with_binding(const KeyList& list, std::int32_t local_id, ByteView identifier) {
    std::string text = without_binding(list, local_id);
    append_binding(text, local_id, identifier);
    return text;
}

}  // namespace kms
