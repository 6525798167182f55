// kernel_check: the proof of docs/numerics.md at the level of kernels. Every instruction set of the build that this
// machine has computes the same cases as the scalar kernels, bit for bit; the scalar ones are judged against float64.
//   kernel_check                   all instruction sets
//   kernel_check --isa NAME        one of them
//   kernel_check --without CHECK   all but one check: attention takes most of the time, too much of it under emulation
//   kernel_check --list            their names
// The last line hashes every result. It is the same on every machine: compare it between x86-64 and AArch64.
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "dispatch/fp_env.h"
#include "dispatch/isa.h"
#include "formats/formats.h"

namespace {

using kernel_check::Run;
using kernel_check::Transcript;
using pyruntime::Isa;
using pyruntime::KernelTable;

struct Check {
    std::string name;
    std::function<void(Run&)> run;
};

std::vector<Check> all_checks() {
    namespace formats = pyruntime::formats;
    using namespace kernel_check;
    std::vector<Check> checks = {
        {"exp", check_exp},
        {"activations", check_activations},
        {"gated", check_gated},
        {"add", check_add},
        {"scale", check_scale},
        {"rms_norm", check_rms_norm},
        {"layer_norm", check_layer_norm},
        {"all_finite", check_all_finite},
        {"quantize", check_quantize},
        {"rope", check_rope},
        {"kv_store", check_kv_store},
        {"attention", check_attention},
        {"int8_peak", check_int8_peak},
    };
    for (const formats::TypeInfo& type : formats::all_types())
        if (type.supported)
            checks.push_back({std::string("matmul_") + type.name, [=](Run& run) { check_matmul(run, type.id); }});
    return checks;
}

const KernelTable* find(const char* name) {
    for (const Isa& isa : pyruntime::compiled_isas())
        if (isa.supported() && !std::strcmp(isa.kernels->name, name)) return isa.kernels;
    return nullptr;
}

void list() {
    for (const Isa& isa : pyruntime::compiled_isas())
        std::printf("%s%s\n", isa.kernels->name, isa.supported() ? "" : " (not on this machine)");
}

void print(const Run& run, const Check& check) {
    const char* isa = run.k.name;
    if (run.failures().empty()) {
        std::printf("%s %s ok %016llx", isa, check.name.c_str(), static_cast<unsigned long long>(run.hash()));
        if (run.budget_used() > 0) std::printf("  %.0f %% of the budget", 100 * run.budget_used());
        if (!run.note.empty()) std::printf("  %s", run.note.c_str());
        std::printf("\n");
        return;
    }
    constexpr size_t kShown = 5;
    std::printf("%s %s FAILED in %zu cases\n", isa, check.name.c_str(), run.failures().size());
    for (size_t i = 0; i < run.failures().size() && i < kShown; i++) std::printf("  %s\n", run.failures()[i].c_str());
}

int check(const char* only, const char* without) {
    std::vector<const KernelTable*> kernels = {find("scalar")};
    for (const Isa& isa : pyruntime::compiled_isas())
        if (isa.supported() && isa.kernels != kernels[0] && (!only || !std::strcmp(only, isa.kernels->name)))
            kernels.push_back(isa.kernels);
    if (only && !find(only)) {
        std::fprintf(stderr, "kernel_check: no instruction set '%s' in this build and on this machine\n", only);
        return 2;
    }
    size_t n_results = 0, n_failed = 0;
    uint64_t total = 0xcbf29ce484222325;
    for (const Check& check : all_checks()) {
        if (without && check.name == without) continue;
        Transcript transcript;
        for (const KernelTable* k : kernels) {
            Run run(*k, transcript, /*reference=*/k == kernels[0]);
            check.run(run);
            run.finish();
            if (!only || !std::strcmp(only, k->name) || !run.failures().empty()) print(run, check);
            std::fflush(stdout);
            n_failed += !run.failures().empty();
            if (!run.reference()) continue;
            n_results += run.n_results();
            total = (total ^ run.hash()) * 0x100000001b3;
        }
    }
    if (n_failed) {
        std::printf("%zu checks FAILED\n", n_failed);
        return 1;
    }
    std::printf("total %016llx over %zu results\n", static_cast<unsigned long long>(total), n_results);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && !std::strcmp(argv[1], "--list")) {
        list();
        return 0;
    }
    const char *only = nullptr, *without = nullptr;
    int i = 1;
    for (; i + 1 < argc; i += 2) {
        if (!std::strcmp(argv[i], "--isa"))
            only = argv[i + 1];
        else if (!std::strcmp(argv[i], "--without"))
            without = argv[i + 1];
        else
            break;
    }
    if (i != argc) {
        std::fprintf(stderr, "usage: kernel_check [--list | [--isa NAME] [--without CHECK]]\n");
        return 2;
    }
    const pyruntime::FpEnvironment contract;
    kernel_check::report_faults();
    return check(only, without);
}
