// A model without Python: engine_run MODEL PLAN THREADS OUT [TOKENS] < ids. Reads a plan as
// tests/engine_run/write_plan.py writes it, computes the logits of every position, 19 or so many tokens a step, and
// writes them to OUT as float32. It runs where Python cannot be had, such as AArch64 under qemu, to show that a real
// model has the same bits there (.ci/run).
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "errors.h"

namespace {

using namespace pyruntime;

constexpr int kTokens = 19;  // panels on every ISA; the rest of the ids is multiplied directly

template <class T>
T read(std::istream& in) {
    T value;
    if (!(in >> value)) throw Error("the plan file ends early");
    return value;
}

// Lines: `value quantized outputs width`, `cache n_kv_heads head_dim value_dim latent`, `flat name`, `step op where
// n-inputs ids.. n-outputs ids.. n-weights names.. n-attributes (name hexfloat)..`, `logits id`.
PlanSpec read_plan(std::istream& in, std::vector<std::string>& weights) {
    PlanSpec plan;
    plan.logits = -1;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        const auto kind = read<std::string>(words);
        if (kind == "value") {
            const int quantized = read<int>(words), outputs = read<int>(words);
            plan.values.push_back({quantized ? Kind::quantized : Kind::floats, outputs ? Rows::outputs : Rows::tokens,
                                   read<int64_t>(words)});
        } else if (kind == "cache") {
            CacheSpec cache;
            for (int* n : {&cache.n_kv_heads, &cache.head_dim, &cache.value_dim}) *n = read<int>(words);
            cache.latent = read<int>(words) != 0;
            plan.caches.push_back(cache);
        } else if (kind == "step") {
            StepSpec step;
            step.op = read<std::string>(words);
            step.where = read<std::string>(words);
            for (auto* ids : {&step.inputs, &step.outputs})
                for (int n = read<int>(words); n > 0; n--) ids->push_back(read<int>(words));
            for (int n = read<int>(words); n > 0; n--) step.weights.push_back(read<std::string>(words));
            for (int n = read<int>(words); n > 0; n--) {
                const auto name = read<std::string>(words);
                step.attributes[name] = std::stod(read<std::string>(words));
            }
            for (const std::string& name : step.weights) weights.push_back(name);
            plan.steps.push_back(step);
        } else if (kind == "flat") {
            plan.flat.push_back(read<std::string>(words));
        } else if (kind == "logits") {
            plan.logits = read<int>(words);
        } else {
            throw Error("the plan file has a line of kind " + kind);
        }
    }
    return plan;
}

void run(const std::string& model, const std::string& plan_path, int threads, const std::string& out_path,
         int64_t n_tokens) {
    std::vector<std::string> all, names;
    std::ifstream plan_file(plan_path);
    PlanSpec plan = read_plan(plan_file, all);
    for (const std::string& name : all)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    std::vector<int32_t> ids;
    for (int32_t id; std::cin >> id;) ids.push_back(id);

    const gguf::File file(model);
    const EngineConfig config{4096, n_tokens, threads, KVType::f16, size_t(1) << 40, ""};
    Engine engine(file, names, std::move(plan), config, nullptr);
    std::fprintf(stderr, "%s, %d threads, %zu tokens\n", engine.isa(), threads, ids.size());
    const auto sequence = engine.new_sequence();
    std::vector<float> logits(ids.size() * size_t(engine.n_vocab()));
    for (size_t at = 0; at < ids.size(); at += size_t(n_tokens)) {
        const int64_t n = std::min(n_tokens, int64_t(ids.size() - at));
        engine.step({{sequence.get(), &ids[at], n, n}}, &logits[at * size_t(engine.n_vocab())], nullptr);
    }
    std::ofstream out(out_path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(logits.data()), std::streamsize(logits.size() * sizeof(float)));
    if (!out.flush()) throw Error("cannot write " + out_path);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5 && argc != 6) {
        std::fprintf(stderr, "usage: engine_run MODEL PLAN THREADS OUT [TOKENS] < ids\n");
        return 2;
    }
    try {
        run(argv[1], argv[2], std::stoi(argv[3]), argv[4], argc == 6 ? std::stoi(argv[5]) : kTokens);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "engine_run: %s\n", e.what());
        return 1;
    }
    return 0;
}
