// The KV pages of a session file: any bytes may be in them, appended between steps, forks and rewinds. The first byte
// of an input is the type of the cache; then come operations of a few bytes each.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "formats/types.h"
#include "fuzz.h"

namespace {

using namespace pyruntime;

constexpr int kVocab = 16, kWidth = 32, kHeads = 2, kHeadDim = 16;
constexpr int64_t kContext = 256, kMaxTokens = 8;
constexpr size_t kMaxKV = size_t(1) << 20;

void put(std::vector<uint8_t>& to, uint64_t value, int width) {
    for (int i = 0; i < width; i++) to.push_back(uint8_t(value >> 8 * i));
}

// A GGUF file of F32 matrices of kWidth columns and random values.
std::vector<uint8_t> model_file(const std::vector<std::string>& names, const std::vector<uint64_t>& rows) {
    std::vector<uint8_t> file = {'G', 'G', 'U', 'F', 3, 0, 0, 0};
    put(file, names.size(), 8);
    put(file, 0, 8);
    uint64_t offset = 0;
    for (size_t i = 0; i < names.size(); i++) {
        put(file, names[i].size(), 8);
        file.insert(file.end(), names[i].begin(), names[i].end());
        put(file, 2, 4);
        put(file, kWidth, 8);
        put(file, rows[i], 8);
        put(file, formats::F32, 4);
        put(file, offset, 8);
        offset += rows[i] * kWidth * 4;
    }
    while (file.size() % 32 != 0) file.push_back(0);
    fuzz::Random random(1);
    for (; offset > 0; offset -= 4) {
        const float value = float(random.below(2001)) / 1000 - 1;
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        put(file, bits, 4);
    }
    return file;
}

// One layer of attention over one key and value head.
std::unique_ptr<Engine> make_engine(KVType kv_type) {
    const std::vector<std::string> weights = {"embedding", "q", "k", "v", "head"};
    const fuzz::ScratchFile scratch("model.gguf");
    const std::vector<uint8_t> bytes = model_file(weights, {kVocab, kWidth, kHeadDim, kHeadDim, kVocab});
    scratch.write(bytes.data(), bytes.size(), bytes.size());

    PlanSpec plan;
    const auto floats = [](Rows rows, int64_t width) { return ValueSpec{Kind::floats, rows, width}; };
    plan.values = {floats(Rows::tokens, kWidth),   floats(Rows::tokens, kWidth), floats(Rows::tokens, kHeadDim),
                   floats(Rows::tokens, kHeadDim), floats(Rows::tokens, kWidth), floats(Rows::outputs, kWidth),
                   floats(Rows::outputs, kVocab)};
    plan.caches = {{1, kHeadDim, kHeadDim, false}};
    plan.steps = {
        {"embedding", {}, {0}, {"embedding"}, {}, "pages"},
        {"linear", {0}, {1, 2, 3}, {"q", "k", "v"}, {}, "pages"},
        {"kv_store", {2, 3}, {}, {}, {{"cache", 0}}, "pages"},
        {"attention", {1}, {4}, {}, {{"cache", 0}, {"n_heads", kHeads}, {"scale", 0.25}, {"window", 0}}, "pages"},
        {"gather_outputs", {4}, {5}, {}, {}, "pages"},
        {"linear", {5}, {6}, {"head"}, {}, "pages"},
    };
    plan.logits = 6;
    const EngineConfig config{kContext, kMaxTokens, 1, kv_type, kMaxKV, "scalar"};
    return std::make_unique<Engine>(gguf::File(scratch.path()), weights, std::move(plan), config, nullptr);
}

// What an input asks for, byte by byte; zeros after its end.
class Input {
  public:
    Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
    bool empty() const { return at_ == end_; }
    uint8_t byte() { return empty() ? uint8_t(0) : *at_++; }
    // n bytes: some that follow, over and over.
    std::vector<uint8_t> repeated(size_t n) {
        const size_t wanted = 1 + byte();
        const size_t period = std::min(wanted, size_t(end_ - at_));
        std::vector<uint8_t> bytes(n);
        for (size_t i = 0; i < n && period > 0; i++) bytes[i] = at_[i % period];
        at_ += period;
        return bytes;
    }

  private:
    const uint8_t *at_, *end_;
};

void append_page(Engine& engine, Sequence& sequence, Input& input) {
    std::vector<int32_t> ids(64);
    for (int32_t& id : ids) id = input.byte() % kVocab;
    if (input.byte() == 255) ids[7] = input.byte() % 2 ? -1 : kVocab;
    const std::vector<uint8_t> bytes = input.repeated(engine.page_bytes());
    const bool good = ids[7] >= 0 && ids[7] < kVocab && sequence.length() % 64 == 0;
    const int64_t before = sequence.length();
    try {
        engine.append_page(sequence, ids.data(), bytes.data());
    } catch (const std::invalid_argument&) {
        fuzz::require(!good && sequence.length() == before, "what is refused changes nothing");
        return;
    } catch (const ContextError&) {
        fuzz::require(before + 64 > kContext && sequence.length() == before, "the context is what refuses");
        return;
    }
    fuzz::require(good, "an id outside of the vocabulary, or a page after a part of one, is refused");
    std::vector<uint8_t> read(bytes.size());
    engine.read_page(sequence, sequence.length() / 64 - 1, read.data());
    fuzz::require(read == bytes, "a page is kept as it came");
}

void step(Engine& engine, Sequence& sequence, Input& input) {
    std::vector<int32_t> ids(1 + input.byte() % kMaxTokens);
    for (int32_t& id : ids) id = input.byte() % kVocab;
    std::vector<float> logits(kVocab);
    const int64_t before = sequence.length();
    try {
        engine.step({{&sequence, ids.data(), int64_t(ids.size()), 1}}, logits.data(), nullptr);
    } catch (const Error&) {  // numbers that overflow, or no room
        fuzz::require(sequence.length() == before, "a step that fails changes nothing");
        return;
    }
    for (const float v : logits) fuzz::require(std::isfinite(v), "logits are finite or refused");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::unique_ptr<Engine> engines[] = {make_engine(KVType::f16), make_engine(KVType::f32),
                                                      make_engine(KVType::q8_0)};
    if (size == 0) return 0;
    fuzz::reached.inputs++;
    fuzz::reached.inside++;
    Engine& engine = *engines[data[0] % std::size(engines)];
    Input input(data + 1, size - 1);
    std::vector<std::shared_ptr<Sequence>> sequences = {engine.new_sequence()};
    for (int n = 0; n < 12 && !input.empty(); n++) {
        const uint8_t operation = input.byte();
        Sequence& sequence = *sequences[operation / 8 % sequences.size()];
        switch (operation % 8) {
            case 0:
            case 1:
            case 2:
                append_page(engine, sequence, input);
                break;
            case 3:
            case 4:
                step(engine, sequence, input);
                break;
            case 5:
                engine.rewind(sequence, sequence.length() * input.byte() / 255);
                break;
            case 6:
                if (sequences.size() < 4) sequences.push_back(engine.fork(sequence));
                break;
            default:
                if (sequences.size() > 1) sequences.erase(sequences.begin());
        }
    }
    sequences.clear();
    fuzz::require(engine.counters()["pages"] == 0, "no page is lost");
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned) {
    return LLVMFuzzerMutate(data, size, max_size);
}
