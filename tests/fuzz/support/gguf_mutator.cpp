#include "gguf_mutator.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fuzz.h"

namespace fuzz {

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kHeader = 4 + 4 + 8 + 8;  // magic, version, number of tensors, number of entries
constexpr size_t kTensorCount = 8, kEntryCount = 16;

// A number in the file, and whether it says how many bytes follow it.
struct Number {
    size_t at, width;
    bool is_length = false;
};

struct Item {  // an entry of the metadata or a row of the tensor table
    size_t begin, end;
    bool is_tensor;
};

uint64_t get(const Bytes& b, size_t at, size_t width) {
    uint64_t value = 0;
    std::memcpy(&value, &b[at], width);
    return value;
}
void put(Bytes& b, size_t at, size_t width, uint64_t value) { std::memcpy(&b[at], &value, width); }

// Where things are, as far as the file can be followed.
class Layout {
  public:
    explicit Layout(const Bytes& b) : b_(b) {
        if (b.size() < kHeader) return;
        const uint64_t n_tensors = get(b, kTensorCount, 8), n_entries = get(b, kEntryCount, 8);
        at_ = kHeader;
        for (uint64_t i = 0; i < n_entries && item(false); i++) {
        }
        for (uint64_t i = 0; i < n_tensors && item(true); i++) {
        }
    }
    std::vector<Number> numbers;
    std::vector<Item> items;

  private:
    bool item(bool is_tensor) {
        const size_t begin = at_;
        if (!string() || !(is_tensor ? tensor() : value())) return false;
        items.push_back({begin, at_, is_tensor});
        return true;
    }
    bool number(size_t width, uint64_t& value, bool is_length = false) {
        if (b_.size() - at_ < width) return false;
        value = get(b_, at_, width);
        numbers.push_back({at_, width, is_length});
        at_ += width;
        return true;
    }
    bool skip(uint64_t n) {
        if (b_.size() - at_ < n) return false;
        at_ += size_t(n);
        return true;
    }
    bool string() {
        uint64_t n;
        return number(8, n, true) && skip(n);
    }
    bool scalar(uint64_t type) {
        static constexpr size_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        uint64_t ignored;
        return type == 8 ? string() : type < 13 && type != 9 && number(kBytes[type], ignored);
    }
    bool value() {
        uint64_t type, n;
        if (!number(4, type)) return false;
        if (type != 9) return scalar(type);
        if (!number(4, type) || !number(8, n, true)) return false;
        for (uint64_t i = 0; i < n; i++)
            if (!scalar(type)) return false;
        return true;
    }
    bool tensor() {
        uint64_t n_dims, ignored;
        if (!number(4, n_dims) || n_dims > 4) return false;
        for (uint64_t i = 0; i < n_dims; i++)
            if (!number(8, ignored)) return false;
        return number(4, ignored) && number(8, ignored);
    }
    const Bytes& b_;
    size_t at_ = 0;
};

// Numbers at which arithmetic goes wrong, and small ones, which are types, dimensions and counts.
uint64_t interesting(Random& random, uint64_t old) {
    switch (random.below(6)) {
        case 0:
            return random.below(48);
        case 1:
            return old + random.below(65) - 32;
        case 2:
            return (uint64_t(1) << random.below(64)) + random.below(3) - 1;
        case 3:
            return old << random.below(8);
        case 4:
            return 32 * random.below(64);
        default:
            return random.next() >> random.below(64);
    }
}

void change_number(Bytes& b, const Layout& layout, Random& random) {
    const Number n = layout.numbers[random.below(layout.numbers.size())];
    put(b, n.at, n.width, interesting(random, get(b, n.at, n.width)));
}

// A string gets other bytes, another length that is true, or becomes a key that the reader looks for.
void change_string(Bytes& b, const Layout& layout, Random& random) {
    static constexpr const char* kKnown[] = {"general.alignment", "split.no", "split.count", "split.tensors.count",
                                             "a"};
    const Number n = layout.numbers[random.below(layout.numbers.size())];
    if (!n.is_length) return change_number(b, layout, random);
    const size_t begin = n.at + 8;
    const auto old = size_t(std::min<uint64_t>(get(b, n.at, 8), b.size() - begin));
    Bytes text(b.begin() + long(begin), b.begin() + long(begin + old));
    if (random.one_in(3)) {
        const char* known = kKnown[random.below(std::size(kKnown))];
        text.assign(known, known + std::strlen(known));
    } else {
        text.resize(old + 16);
        text.resize(LLVMFuzzerMutate(text.data(), old, text.size()));
    }
    b.erase(b.begin() + long(begin), b.begin() + long(begin + old));
    b.insert(b.begin() + long(begin), text.begin(), text.end());
    put(b, n.at, 8, text.size());
}

// An item is copied, left out, or put somewhere else among its kind; the counts stay true.
void change_items(Bytes& b, const Layout& layout, Random& random) {
    const Item item = layout.items[random.below(layout.items.size())];
    const size_t count = item.is_tensor ? kTensorCount : kEntryCount;
    const Bytes copy(b.begin() + long(item.begin), b.begin() + long(item.end));
    const bool remove = random.one_in(2), insert = !remove || random.one_in(2);
    if (insert) {
        const Item place = layout.items[random.below(layout.items.size())];
        const size_t at = place.is_tensor == item.is_tensor ? place.begin : item.end;
        if (remove && at > item.begin) return;  // the place would move
        b.insert(b.begin() + long(at), copy.begin(), copy.end());
        if (remove) b.erase(b.begin() + long(item.begin + copy.size()), b.begin() + long(item.end + copy.size()));
    } else {
        b.erase(b.begin() + long(item.begin), b.begin() + long(item.end));
    }
    put(b, count, 8, get(b, count, 8) + insert - remove);
}

void change_bytes(Bytes& b, size_t from, size_t max_size) {
    const size_t size = b.size();
    if (max_size <= from) return;
    b.resize(max_size);
    b.resize(from + LLVMFuzzerMutate(b.data() + from, size - from, max_size - from));
}

}  // namespace

size_t mutate_gguf(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
    Random random(seed);
    Bytes b(data, data + size);
    for (uint64_t n = 1 + random.below(3); n > 0; n--) {
        const Layout layout(b);
        const uint64_t choice = random.below(8);
        if (b.size() < kHeader || (choice == 0 && random.one_in(4))) {
            change_bytes(b, 0, std::max(max_size, b.size()));
        } else if (choice < 2 || layout.items.empty()) {
            change_bytes(b, kHeader, std::max(max_size, b.size()));
        } else if (choice < 5) {
            change_number(b, layout, random);
        } else if (choice < 6) {
            change_string(b, layout, random);
        } else {
            change_items(b, layout, random);
        }
    }
    b.resize(std::min(b.size(), max_size));
    std::copy(b.begin(), b.end(), data);
    return b.size();
}

}  // namespace fuzz
