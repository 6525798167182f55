// Engine and Sequence. Long calls release the GIL; Ctrl-C reaches a running step through a poll of Python's signals.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "engine/arena.h"
#include "engine/engine.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

using Ids = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// NumPy lets an array of 4-byte elements begin anywhere; C++ does not.
void require_aligned(const void* data, const char* what) {
    if (reinterpret_cast<uintptr_t>(data) % 4 != 0) throw std::invalid_argument(std::string(what) + " must be aligned");
}

// A sequence of an engine, which it keeps alive.
class BoundSequence {
  public:
    BoundSequence(std::shared_ptr<Engine> engine, std::shared_ptr<Sequence> sequence)
        : engine_(std::move(engine)), sequence_(std::move(sequence)) {}
    void close() { sequence_.reset(); }
    // A share of it, so that another Python thread may close it meanwhile.
    std::shared_ptr<Sequence> get() const {
        if (!sequence_) throw std::invalid_argument("this session is closed");
        return sequence_;
    }
    int64_t length() const {
        if (!sequence_) return 0;
        const std::shared_ptr<Sequence> sequence = sequence_;
        const py::gil_scoped_release release;
        return engine_->length(*sequence);
    }
    std::vector<int32_t> ids() const {
        if (!sequence_) return {};
        const std::shared_ptr<Sequence> sequence = sequence_;
        const py::gil_scoped_release release;
        return engine_->ids(*sequence);
    }
    BoundSequence fork() const {
        const std::shared_ptr<Sequence> sequence = get();
        const py::gil_scoped_release release;
        return {engine_, engine_->fork(*sequence)};
    }
    void rewind(int64_t length) const {
        const std::shared_ptr<Sequence> sequence = get();
        const py::gil_scoped_release release;
        engine_->rewind(*sequence, length);
    }
    py::array_t<uint8_t> read_page(int64_t index) const {
        const std::shared_ptr<Sequence> sequence = get();
        py::array_t<uint8_t> bytes(py::ssize_t(engine_->page_bytes()));
        uint8_t* to = bytes.mutable_data();
        const py::gil_scoped_release release;
        engine_->read_page(*sequence, index, to);
        return bytes;
    }
    void append_page(const Ids& ids, const py::array_t<uint8_t, py::array::c_style>& bytes) const {
        const std::shared_ptr<Sequence> sequence = get();
        if (ids.ndim() != 1 || ids.size() != kPageTokens || size_t(bytes.nbytes()) != engine_->page_bytes())
            throw std::invalid_argument("a page has " + std::to_string(kPageTokens) + " ids and " +
                                        std::to_string(engine_->page_bytes()) + " bytes");
        require_aligned(ids.data(), "token ids");
        const py::gil_scoped_release release;
        engine_->append_page(*sequence, ids.data(), bytes.data());
    }
    const Engine* engine() const { return engine_.get(); }

  private:
    std::shared_ptr<Engine> engine_;
    std::shared_ptr<Sequence> sequence_;
};

// The pieces of a call, with what keeps their memory alive while the GIL is released.
struct Batch {
    std::vector<Piece> pieces;
    std::vector<Ids> ids;
    std::vector<std::shared_ptr<Sequence>> sequences;
    std::vector<std::shared_ptr<Sampler>> samplers;

    void add(const Engine& engine, const BoundSequence& sequence, Ids piece_ids, int64_t n_outputs) {
        if (sequence.engine() != &engine) throw std::invalid_argument("a session of another model");
        if (piece_ids.ndim() != 1) throw std::invalid_argument("token ids must be one-dimensional");
        require_aligned(piece_ids.data(), "token ids");
        sequences.push_back(sequence.get());
        pieces.push_back({sequences.back().get(), piece_ids.data(), piece_ids.size(), n_outputs});
        ids.push_back(std::move(piece_ids));
    }
};

std::vector<CacheSpec> read_caches(const py::handle caches) {
    std::vector<CacheSpec> specs;
    for (const auto& [n_kv_heads, head_dim, value_dim, latent] :
         caches.cast<std::vector<std::tuple<int, int, int, bool>>>())
        specs.push_back({n_kv_heads, head_dim, value_dim, latent});
    return specs;
}

KVType kv_type_of(const std::string& name) {
    if (name == "f32") return KVType::f32;
    if (name == "f16") return KVType::f16;
    if (name == "q8_0") return KVType::q8_0;
    throw std::invalid_argument("no type of keys and values named '" + name + "'");
}

PlanSpec read_plan(const py::dict& plan) {
    PlanSpec spec;
    for (const py::handle h : plan["values"]) {
        const auto [quantized, outputs, width] = h.cast<std::tuple<bool, bool, int64_t>>();
        spec.values.push_back(
            {quantized ? Kind::quantized : Kind::floats, outputs ? Rows::outputs : Rows::tokens, width});
    }
    for (const py::handle h : plan["steps"]) {
        const auto t = h.cast<py::tuple>();
        spec.steps.push_back({t[0].cast<std::string>(), t[1].cast<std::vector<int>>(), t[2].cast<std::vector<int>>(),
                              t[3].cast<std::vector<std::string>>(), t[4].cast<std::map<std::string, double>>(),
                              t[5].cast<std::string>()});
    }
    spec.caches = read_caches(plan["caches"]);
    spec.flat = plan["flat"].cast<std::vector<std::string>>();
    spec.logits = plan["logits"].cast<int>();
    return spec;
}

std::shared_ptr<Engine> load(const gguf::File& file, const std::vector<std::string>& weights, const py::dict& plan,
                             int64_t context, int64_t max_tokens, int n_threads, const std::string& kv_type,
                             size_t kv_max_bytes, const std::string& isa, const py::object& progress) {
    if (n_threads < 1 || n_threads > kMaxThreads)
        throw std::invalid_argument("threads must be between 1 and " + std::to_string(kMaxThreads));
    if (max_tokens < 1 || max_tokens > 65536) throw std::invalid_argument("max_tokens must be between 1 and 65536");
    PlanSpec spec = read_plan(plan);
    const EngineConfig config{context, max_tokens, n_threads, kv_type_of(kv_type), kv_max_bytes, isa};
    bool failed = false;  // what progress raised stays set, and ends the loading at the next poll
    const auto tell = [&](size_t done, size_t total) {
        const py::gil_scoped_acquire gil;
        try {
            if (!failed) progress(done, total);
        } catch (py::error_already_set& error) {
            error.restore();
            failed = true;
        }
    };
    const auto poll = [&] { return failed || signals_pending(); };
    std::shared_ptr<Engine> engine;
    {
        const py::gil_scoped_release release;
        engine = std::make_shared<Engine>(file, weights, std::move(spec), config, poll,
                                          progress.is_none() ? Progress() : Progress(tell));
    }
    if (failed) throw py::error_already_set();
    return engine;
}

using Logits = py::array_t<float, py::array::c_style>;

Logits step(Engine& engine, const std::vector<std::tuple<BoundSequence*, Ids, int>>& pieces,
            std::optional<Logits> out) {
    Batch batch;
    int64_t outputs = 0;
    for (const auto& [sequence, ids, want] : pieces) {
        if (want < 0 || want > 2) throw std::invalid_argument("want must be 0 (none), 1 (last) or 2 (all)");
        batch.add(engine, *sequence, ids, want == 2 ? ids.size() : want);
        outputs += batch.pieces.back().n_outputs;
    }
    Logits logits = out ? *out : Logits({outputs, engine.n_vocab()});
    if (logits.ndim() != 2 || logits.shape(0) != outputs || logits.shape(1) != engine.n_vocab())
        throw std::invalid_argument("out must be (" + std::to_string(outputs) + ", " +
                                    std::to_string(engine.n_vocab()) + ")");
    float* data = logits.mutable_data();
    require_aligned(data, "out");
    {
        const py::gil_scoped_release release;
        engine.step(batch.pieces, data, signals_pending);
    }
    return logits;
}

using Entry = Logprobs::Entry;
using BoundDrawn = std::tuple<std::vector<int32_t>, std::vector<std::pair<Entry, std::vector<Entry>>>, std::string>;

std::vector<BoundDrawn> step_and_sample(
    Engine& engine, const std::vector<std::tuple<BoundSequence*, Ids, std::shared_ptr<Sampler>, int64_t>>& pieces) {
    Batch batch;
    std::vector<Draw> draws;
    for (const auto& [sequence, ids, sampler, n_guessed] : pieces) {
        batch.add(engine, *sequence, ids, 0);
        batch.samplers.push_back(sampler);
        draws.push_back({batch.pieces.back(), sampler.get(), n_guessed});
    }
    const py::gil_scoped_release release;
    std::vector<BoundDrawn> drawn;
    for (Drawn& d : engine.step_and_sample(std::move(draws), signals_pending))
        drawn.emplace_back(std::move(d.ids), std::move(d.logprobs), std::move(d.error));
    return drawn;
}

py::dict stop_profile(Engine& engine) {
    Profile profile;
    {
        const py::gil_scoped_release release;
        profile = engine.stop_profile();
    }
    std::vector<std::vector<double>> busy, waiting;
    for (Profile::Thread& thread : profile.threads) {
        busy.push_back(std::move(thread.busy));
        waiting.push_back(std::move(thread.waiting));
    }
    return py::dict(py::arg("elapsed") = profile.elapsed, py::arg("busy") = busy, py::arg("waiting") = waiting);
}

// Values of another plan of an engine, which it keeps alive.
class BoundCapture {
  public:
    BoundCapture(std::shared_ptr<Engine> engine, PlanSpec plan, const std::vector<int>& kept)
        : engine_(std::move(engine)) {
        for (int id : kept) widths_.push_back(plan.values.at(size_t(id)).width);
        const py::gil_scoped_release release;
        capture_ = std::make_unique<Engine::Capture>(*engine_, std::move(plan), kept);
    }
    void step(const BoundSequence& sequence, Ids ids, std::vector<Logits> out) {
        Batch batch;
        batch.add(*engine_, sequence, std::move(ids), 0);
        if (out.size() != widths_.size()) throw std::invalid_argument("an array is needed for each value");
        std::vector<float*> to;
        for (size_t i = 0; i < out.size(); i++) {
            if (out[i].ndim() != 2 || out[i].shape(0) != batch.pieces[0].n || out[i].shape(1) != widths_[i])
                throw std::invalid_argument("out must be (" + std::to_string(batch.pieces[0].n) + ", " +
                                            std::to_string(widths_[i]) + ")");
            to.push_back(out[i].mutable_data());
            require_aligned(to.back(), "out");
        }
        const py::gil_scoped_release release;
        capture_->step(batch.pieces[0], to, signals_pending);
    }

  private:
    std::shared_ptr<Engine> engine_;
    std::vector<int64_t> widths_;
    std::unique_ptr<Engine::Capture> capture_;
};

}  // namespace

void register_engine(py::module_& m) {
    m.def(
        "activation_bytes",
        [](const py::dict& plan, int64_t max_tokens, int n_threads, int64_t context) {
            return activation_bytes(read_plan(plan), max_tokens, n_threads, context);
        },
        py::arg("plan"), py::arg("max_tokens"), py::arg("n_threads"), py::arg("context"),
        "Bytes that a step's values and the threads' scratch will take.");
    m.def(
        "loaded_bytes", &loaded_bytes, py::arg("file"), py::arg("weights"), py::arg("flat"),
        "Bytes that the weights of these names take once loaded, those of `flat` as vectors. Raises what loading them "
        "would for a type or a shape.");

    m.def(
        "kv_page_bytes",
        [](const py::list& caches, const std::string& type) {
            return PageLayout(read_caches(caches), kv_type_of(type)).bytes;
        },
        py::arg("caches"), py::arg("kv_type"),
        "Bytes of 64 positions. caches: [(n_kv_heads, head_dim, value_dim, latent)].");

    py::class_<BoundSequence>(m, "Sequence", "The KV cache of one sequence of tokens.")
        .def("__len__", &BoundSequence::length)
        .def_property_readonly("ids", &BoundSequence::ids, "The tokens held, a copy; none once closed.")
        .def("fork", &BoundSequence::fork, "Another sequence with the same tokens, sharing their pages.")
        .def("rewind", &BoundSequence::rewind, py::arg("length"), "Forgets all but the first `length` tokens.")
        .def("read_page", &BoundSequence::read_page, py::arg("index"), "The bytes of a page of 64 positions, all held.")
        .def("append_page", &BoundSequence::append_page, py::arg("ids"), py::arg("bytes"),
             "64 tokens with the bytes that read_page gave of them, after whole pages.")
        .def("close", &BoundSequence::close, "Gives its pages back; the sequence cannot be used any more.");

    py::class_<BoundCapture>(m, "Capture", "Steps of another plan of a model, and values of it.")
        .def("step", &BoundCapture::step, py::arg("sequence"), py::arg("ids"), py::arg("out").noconvert(),
             "A step of these int32 ids; out: float32 (len(ids), width) for each value.");

    py::class_<Engine, std::shared_ptr<Engine>>(m, "Engine", "A loaded model: weights, plan, KV pages, threads.")
        .def(py::init(&load), py::arg("file"), py::arg("weights"), py::arg("plan"), py::kw_only(), py::arg("context"),
             py::arg("max_tokens"), py::arg("n_threads"), py::arg("kv_type"), py::arg("kv_max_bytes"),
             py::arg("isa") = "", py::arg("progress") = py::none(),
             "progress(done, total) is told at most every 20 ms how many bytes of the file are read.")
        .def("sequence", [](std::shared_ptr<Engine> e) { return BoundSequence(e, e->new_sequence()); })
        .def("step", &step, py::arg("pieces"), py::arg("out").noconvert() = py::none(),
             "pieces: [(Sequence, int32 ids, want)], want 0 none, 1 last, 2 all. Returns float32 (outputs, n_vocab).")
        .def("step_and_sample", &step_and_sample, py::arg("pieces"),
             "pieces: [(Sequence, int32 ids, Sampler | None, how many of the last ids are guesses)]. Returns of each "
             "piece (the ids drawn: one more than guesses were right, none without a sampler; their log probabilities "
             "as Sampler.logprobs, or none; what a NumericsError would say of the draw after them, or nothing).")
        .def(
            "capture",
            [](std::shared_ptr<Engine> e, const py::dict& plan, const std::vector<int>& values) {
                return BoundCapture(std::move(e), read_plan(plan), values);
            },
            py::arg("plan"), py::arg("values"), "Runs another plan of the same model, whose values it gives.")
        .def("counters", &Engine::counters, py::call_guard<py::gil_scoped_release>())
        .def("items_by_thread", &Engine::items_by_thread, py::call_guard<py::gil_scoped_release>())
        .def("start_profile", &Engine::start_profile, py::call_guard<py::gil_scoped_release>(),
             "From now on threads note how long they take for each step of the plan, beginning at 0.")
        .def("stop_profile", &stop_profile,
             "Seconds since start_profile: `elapsed` in the plan; of each thread a list `busy` with each step of the "
             "plan "
             "and last with the check of the logits, and `waiting` at the barrier behind it. No threads: it was off.")
        .def_property_readonly("n_vocab", &Engine::n_vocab)
        .def_property_readonly("page_bytes", &Engine::page_bytes)
        .def_property_readonly("weights_digest", &Engine::weights_digest)
        .def_property_readonly("isa", &Engine::isa)
        .def_property_readonly("n_threads", [](const Engine& e) { return e.config().n_threads; })
        .def_property_readonly("context", [](const Engine& e) { return e.config().context; })
        .def_property_readonly("max_tokens", [](const Engine& e) { return e.config().max_tokens; });
}

}  // namespace pyruntime::bindings
