// Activations, alone and of a gate; softcap (tanh); sigmoid: over ragged rows, at the edges, and across all floats.
#include <cmath>
#include <functional>
#include <vector>

#include "buffers.h"
#include "check.h"
#include "inputs.h"
#include "reference.h"

namespace kernel_check {

namespace {

using pyruntime::Activation;

constexpr double kVanishing = 6e-37;  // results below it may be 0: exp is, below e^-87 (-88 e^-88 is the largest)

struct Function {
    const char* name;
    std::function<void(const KernelTable&, const float* x, int64_t n, float* y)> apply;
    double (*exact)(double);
    double relative;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); }
double gelu_tanh(double x) {
    const double z = 2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
    return z < -700 ? -0.0 : x * sigmoid(z);
}
double relu(double x) { return x < 0 ? 0 : x; }
double relu2(double x) { return relu(x) * relu(x); }
double swiglu_gate(double x) { return std::fmin(x, 7) * (x < -700 ? 0 : sigmoid(1.702 * std::fmin(x, 7))); }
double silu_or_zero(double x) { return x < -700 ? -0.0 : silu(x); }

double exact_activation(int kind, double x) {
    static constexpr double (*kExact[])(double) = {silu_or_zero, gelu, gelu_tanh, relu, relu2, swiglu_gate};
    return kExact[kind](x);
}

constexpr double kRelative[] = {kSilu, kGelu, kGeluTanh, 0, kUlp, kSwigluGate};
constexpr const char* kNames[] = {"silu", "gelu", "gelu_tanh", "relu", "relu2", "swiglu_oai"};

std::vector<Function> functions() {
    std::vector<Function> all = {
        {"sigmoid", [](const KernelTable& k, const float* x, int64_t n, float* y) { k.sigmoid(x, n, y); }, sigmoid,
         kSigmoid},
        {"tanh", [](const KernelTable& k, const float* x, int64_t n, float* y) { k.softcap(x, 1, n, y); },
         [](double x) { return std::tanh(x); }, kTanh},
        {"softcap 30", [](const KernelTable& k, const float* x, int64_t n, float* y) { k.softcap(x, 30, n, y); },
         [](double x) { return 30 * std::tanh(x / 30); }, kTanh + 2 * kUlp},
    };
    static constexpr double (*kExact[])(double) = {silu_or_zero, gelu, gelu_tanh, relu, relu2};
    for (int kind = pyruntime::kSilu; kind < pyruntime::kSwigluOai; kind++)
        all.push_back({kNames[kind],
                       [=](const KernelTable& k, const float* x, int64_t n, float* y) { k.activation(kind, x, n, y); },
                       kExact[kind], kRelative[kind]});
    return all;
}

void judge(Run& run, float x, float y, double exact, double relative, double vanishing) {
    if (x != x) {
        run.require(y != y, "of a NaN a number");
    } else if (std::fabs(exact) >= 0x1.ffffffp127) {  // rounds to an infinity
        run.require(std::fabs(y) >= 0x1.fffffep127, text("%.9g of %.9g, not infinite", y, x));
    } else if (std::fabs(x) < INFINITY) {
        run.within("y", 0, y, exact, relative * std::fabs(exact) + vanishing);
    }
}

// Every kStep-th float of all that there are, both signs, denormals, infinities and NaNs among them.
template <class Row>
void each_row_of_floats(const Row& row) {
    constexpr uint64_t kStep = 60013, kChunk = 4096;
    const Array<float> x(kChunk);
    for (uint64_t bits = 0; bits < (uint64_t(1) << 32);) {
        uint32_t n = 0;
        for (; n < kChunk && bits < (uint64_t(1) << 32); bits += kStep) x[n++] = float_from_bits(uint32_t(bits));
        row(x.data(), int64_t(n));
    }
}

constexpr float kEdges[] = {0.0f,   0.625f,          0.624999940f, 1.0f,  7.0f,          7.00000048f,  11.0f, 13.19f,
                            13.2f,  14.0f,           30.0f,        51.0f, 60.0f,         87.0f,        88.0f, 88.5f,
                            1e-30f, 1.17549435e-38f, 1.4e-45f,     1e10f, 1.8446744e19f, 3.4028235e38f};

void each_edge(const std::function<void(const float*, int64_t)>& row) {
    for (float edge : kEdges)
        for (float sign : {1.0f, -1.0f}) {
            const float x = sign * edge;
            row(&x, 1);
        }
}

void check_function(Run& run, const Function& f) {
    const auto one = [&](const float* x, int64_t n) {
        const Output<float> y{size_t(n)};
        f.apply(run.k, x, n, y.data());
        run.result("y", y.data(), y.size());
        y.check_strips(run, "y");
        for (int64_t i = 0; run.reference() && i < n; i++)
            judge(run, x[i], y[size_t(i)], f.exact(x[i]), f.relative, kVanishing);
    };
    for (int64_t n = 1; n <= 40; n++) {
        run.begin(text("%s n %d", f.name, int(n)));
        const Array<float> x(size_t(n) + (n % 3 == 1));  // shifted by one: the other alignment
        Random r(51 + uint64_t(n));
        for (int64_t i = 0; i < n; i++) x[size_t(i)] = random_float(r, -8, 5);
        one(x.data(), n);
        const Output<float> y{size_t(n)};
        f.apply(run.k, x.data(), n, y.data());
        f.apply(run.k, x.data(), n, x.data());
        run.same("in place", x.data(), y.data(), y.size());
    }
    run.begin(text("%s at the edges", f.name));
    each_edge(one);
    run.begin(text("%s across all floats", f.name));
    each_row_of_floats(one);
    run.begin(text("%s of infinities", f.name));
    for (float x : {INFINITY, -INFINITY}) one(&x, 1);
}

void check_gate(Run& run, int kind) {
    const auto one = [&](const float* gate, const float* up, int64_t n) {
        const Output<float> y{size_t(n)};
        run.k.gated(kind, gate, up, n, y.data());
        run.result("y", y.data(), y.size());
        y.check_strips(run, "y");
        for (int64_t i = 0; run.reference() && i < n; i++) {
            const double u = up[i];
            const double factor = kind == pyruntime::kSwigluOai ? std::fmax(std::fmin(u, 7), -7) + 1 : u;
            // Near -1 the sum with 1 is off by half a step of the smaller operand.
            const double exact = exact_activation(kind, gate[i]);
            const double sum_error = kind == pyruntime::kSwigluOai ? kUlp * std::fabs(factor) : 0;
            if (std::fabs(gate[i]) < INFINITY)
                run.within("y", size_t(i), y[size_t(i)], exact * factor,
                           (kRelative[kind] + kUlp) * std::fabs(exact * factor) + std::fabs(exact) * sum_error +
                               kVanishing * (1 + std::fabs(factor)));
        }
    };
    for (int64_t n = 1; n <= 40; n++) {
        run.begin(text("gated %s n %d", kNames[kind], int(n)));
        const Array<float> gate(size_t(n) + (n % 3 == 1)), up(size_t(n) + (n % 2));
        Random r(61 + uint64_t(n));
        for (int64_t i = 0; i < n; i++) {
            gate[size_t(i)] = random_float(r, -8, 5);
            up[size_t(i)] = random_float(r, -8, 5);
        }
        one(gate.data(), up.data(), n);
        const Output<float> y{size_t(n)};
        run.k.gated(kind, gate.data(), up.data(), n, y.data());
        run.k.gated(kind, gate.data(), up.data(), n, gate.data());
        run.same("in place", gate.data(), y.data(), y.size());
    }
    run.begin(text("gated %s at the edges", kNames[kind]));
    const Array<float> ones(4096);
    for (size_t i = 0; i < ones.size(); i++) ones[i] = 1;
    each_edge([&](const float* x, int64_t n) {
        if (kind != pyruntime::kRelu2 || std::fabs(*x) < 1e19f) one(x, ones.data(), n);
        if (std::fabs(*x) < 1e19f) one(ones.data(), x, n);
    });
}

}  // namespace

void check_activations(Run& run) {
    for (const Function& f : functions()) check_function(run, f);
}

void check_gated(Run& run) {
    for (int kind = pyruntime::kSilu; kind <= pyruntime::kSwigluOai; kind++) check_gate(run, kind);
}

}  // namespace kernel_check
