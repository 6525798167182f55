// Keys and values into the cache, and attention over them.
#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/operands.h"
#include "engine/rope_math.h"
#include "engine/row_wise.h"

namespace pyruntime {

namespace {

// The cache of a step, which is latent exactly for the operations whose names say so.
int cache_of(const Operands& o) {
    const int cache = o.integer("cache", 0, int(o.plan().caches.size()) - 1);
    const CacheSpec& spec = o.plan().caches[size_t(cache)];
    o.require(spec.latent == (o.step().op.rfind("latent_", 0) == 0), "a cache of another kind");
    o.require(!spec.latent || (spec.n_kv_heads == 1 && spec.value_dim <= spec.head_dim), "the latent cache's shape");
    return cache;
}

// kv_store and latent_store.
class KVStore : public RowWise {
  public:
    explicit KVStore(const Operands& o) : RowWise(Rows::tokens), kernel_(o.context().kernels.kv_store) {
        const int cache = cache_of(o);
        const CacheSpec& spec = o.plan().caches[size_t(cache)];
        const CacheLayout& layout = o.context().pages.layout(cache);
        o.counts(spec.latent ? 1 : 2, 0, 0);
        k_ = o.input(0);
        o.require(k_.rows() == Rows::tokens && k_.width() == int64_t(spec.n_kv_heads) * spec.head_dim, "shape of k");
        if (!spec.latent) {
            v_ = o.input(1);
            o.require(v_.rows() == Rows::tokens && v_.width() == int64_t(spec.n_kv_heads) * spec.value_dim,
                      "shape of v");
        }
        args_.n_kv_heads = spec.n_kv_heads;
        args_.head_dim = spec.head_dim;
        args_.value_dim = spec.value_dim;
        args_.key_offset = layout.key_offset;
        args_.value_offset = layout.value_offset;
        args_.key_head_bytes = layout.key_head_bytes;
        args_.value_head_bytes = layout.value_head_bytes;
        args_.type = o.context().pages.type();
        args_.latent = spec.latent;
    }
    void row(const StepState& s, int64_t r) const override {
        const int64_t position = s.positions[size_t(r)];
        KVStoreArgs a = args_;
        a.k = k_.row(s, r);
        if (!a.latent) a.v = v_.row(s, r);
        a.page = s.pieces[size_t(s.piece_of[size_t(r)])].pages[position / kPageTokens];
        a.slot = int(position % kPageTokens);
        kernel_(a);
    }

  private:
    decltype(KernelTable::kv_store) kernel_;
    Buffer k_, v_;
    KVStoreArgs args_{};
};

// arXiv:2108.12409: powers of 2^(-largest / n) for n heads, n a power of two; further heads lie between those.
std::vector<float> alibi_slopes(int n_heads, double largest) {
    int whole = 1;
    while (2 * whole <= n_heads) whole *= 2;
    std::vector<float> slopes;
    for (int h = 0; h < n_heads; h++) {
        const double exponent = h < whole ? largest / whole * (h + 1) : largest / 2 / whole * (2 * (h - whole) + 1);
        slopes.push_back(float(portable_exp2(-exponent)));
    }
    return slopes;
}

// attention and latent_attention. The items are blocks of query rows of a kv head of a piece. Where these are too few
// to keep the threads busy, as of one token after many, each is cut into spans of pages, and who finishes the last span
// of a block puts its parts together.
class Attention : public Operation {
  public:
    explicit Attention(const Operands& o) : kernels_(o.context().kernels), n_threads_(o.context().n_threads) {
        const bool sinks = o.flag("sinks");
        o.counts(1, 1, sinks ? 1 : 0);
        q_ = o.input(0);
        y_ = o.output(0);
        const int cache = cache_of(o);
        const CacheSpec& spec = o.plan().caches[size_t(cache)];
        layout_ = o.context().pages.layout(cache);
        n_kv_heads_ = spec.n_kv_heads;
        const int n_heads = o.integer("n_heads", 1, 1 << 16);
        o.require(n_heads % n_kv_heads_ == 0, "n_heads is not a multiple of n_kv_heads");
        o.require(q_.rows() == Rows::tokens && y_.rows() == Rows::tokens, "q and y must be rows of tokens");
        o.require(q_.width() == int64_t(n_heads) * spec.head_dim, "width of q");
        o.require(y_.width() == int64_t(n_heads) * spec.value_dim, "width of the output");
        args_.group = n_heads / n_kv_heads_;
        args_.head_dim = spec.head_dim;
        args_.value_dim = spec.value_dim;
        args_.q_token_stride = q_.width();
        args_.out_token_stride = y_.width();
        args_.window = o.integer("window", 0, 1 << 30, 0);
        args_.scale = float(o.number("scale"));
        args_.softcap = float(o.number("softcap", 0));
        o.require(args_.softcap >= 0 && args_.softcap < INFINITY, "softcap is out of range");
        const double alibi = o.number("alibi", 0);
        o.require(alibi >= 0 && alibi <= 100, "alibi is out of range");
        if (alibi > 0) slopes_ = alibi_slopes(n_heads, alibi);
        if (sinks) sinks_ = o.vector(0, n_heads);
        args_.type = o.context().pages.type();
        args_.latent = spec.latent;
        block_ = kernels_.attention_tile;
        const int64_t seen =
            args_.window > 0 ? std::min(o.context().context, args_.window + block_) : o.context().context;
        most_pages_ = seen / kPageTokens + 2;
    }
    int64_t items(const StepState& s) const override {
        if (is_cut(s)) return all_spans(s);
        int64_t n = 0;
        for (const PieceState& p : s.pieces) n += units_of(p);
        return n;
    }
    size_t scratch_bytes() const override {
        return attention_scratch_floats(args_.head_dim, args_.value_dim) * sizeof(float);
    }
    size_t shared_bytes() const override { return size_t(most_units()) * unit_floats() * sizeof(float); }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        if (is_cut(s)) return run_spans(s, scratch, first, last);
        size_t piece = 0;
        int64_t start = 0;  // first item of the piece
        for (int64_t item = first; item < last; item++) {
            while (item >= start + units_of(s.pieces[piece])) start += units_of(s.pieces[piece++]);
            const int64_t blocks = blocks_of(s.pieces[piece]), unit = item - start;
            kernels_.attention(args_of(s, s.pieces[piece], unit / blocks, unit % blocks, scratch));
        }
    }

  private:
    static constexpr int64_t kSpanPages = 4;  // 256 positions: some microseconds

    // A block of rows of a kv head is a unit.
    int64_t query_rows(const PieceState& p) const { return p.n_tokens * args_.group; }
    int64_t blocks_of(const PieceState& p) const { return (query_rows(p) + block_ - 1) / block_; }
    int64_t units_of(const PieceState& p) const { return blocks_of(p) * n_kv_heads_; }
    bool is_cut(const StepState& s) const {
        int64_t units = 0;
        for (const PieceState& p : s.pieces) units += units_of(p);
        return units <= most_units();
    }
    int64_t most_units() const { return most_cut_blocks(n_threads_, n_kv_heads_); }
    size_t unit_floats() const { return size_t(most_pages_) * attention_partial_floats(block_, args_.value_dim); }
    static int64_t spans_of(const AttentionArgs& a) {
        const PageRange pages = pages_seen(a);
        return (pages.last - pages.first + kSpanPages - 1) / kSpanPages;
    }

    AttentionArgs args_of(const StepState& s, const PieceState& p, int64_t kv_head, int64_t block,
                          uint8_t* scratch) const {
        const int64_t head = kv_head * args_.group;
        AttentionArgs a = args_;
        a.q = q_.row(s, p.first_row) + head * a.head_dim;
        a.out = y_.row(s, p.first_row) + head * a.value_dim;
        if (!slopes_.empty()) a.slopes = slopes_.data() + head;
        if (sinks_) a.sinks = sinks_ + head;
        a.first_row = block * block_;
        a.n_rows = std::min<int64_t>(block_, query_rows(p) - a.first_row);
        a.first_position = p.first_position;
        a.pages = p.pages;
        a.key_offset = layout_.key_offset + size_t(kv_head) * layout_.key_head_bytes;
        a.value_offset = layout_.value_offset + size_t(kv_head) * layout_.value_head_bytes;
        a.streams = query_rows(p) <= block_;
        a.scratch = reinterpret_cast<float*>(scratch);
        return a;
    }

    // f(args of the unit, its number) for each unit.
    template <class F>
    void each_unit(const StepState& s, uint8_t* scratch, const F& f) const {
        int64_t unit = 0;
        for (const PieceState& p : s.pieces)
            for (int64_t i = 0; i < units_of(p); i++)
                f(args_of(s, p, i / blocks_of(p), i % blocks_of(p), scratch), unit++);
    }
    int64_t all_spans(const StepState& s) const {
        int64_t n = 0;
        each_unit(s, nullptr, [&](const AttentionArgs& a, int64_t) { n += spans_of(a); });
        return n;
    }
    void run_spans(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const {
        int64_t start = 0;  // first item of the unit
        each_unit(s, scratch, [&](AttentionArgs a, int64_t unit) {
            const int64_t spans = spans_of(a);
            const int64_t from = std::max(first - start, int64_t(0)), to = std::min(last - start, spans);
            start += spans;
            if (from >= to) return;
            if (spans == 1) return kernels_.attention(a);
            a.partials = reinterpret_cast<float*>(s.shared) + size_t(unit) * unit_floats();
            const PageRange pages = pages_seen(a);
            kernels_.attention_chunks(a, pages.first + from * kSpanPages,
                                      std::min(pages.last, pages.first + to * kSpanPages));
            std::atomic<int64_t>& done = s.counters[unit];
            if (done.fetch_add(to - from, std::memory_order_acq_rel) + to - from < spans) return;
            done.store(0, std::memory_order_relaxed);  // for the next layer, behind a barrier
            kernels_.attention_combine(a);
        });
    }

    const KernelTable& kernels_;
    Buffer q_, y_;
    CacheLayout layout_;
    int n_kv_heads_, block_, n_threads_;
    int64_t most_pages_;  // that a block of rows sees
    std::vector<float> slopes_;
    const float* sinks_ = nullptr;
    AttentionArgs args_{};
};

}  // namespace

Made make_kv_store(const Operands& o) { return std::make_unique<KVStore>(o); }
Made make_attention(const Operands& o) { return std::make_unique<Attention>(o); }

}  // namespace pyruntime
