// Kernels over one row: quantize, norms, add, scale, exp, all_finite.
#include <cmath>
#include <initializer_list>

#include "buffers.h"
#include "check.h"
#include "inputs.h"
#include "reference.h"

namespace kernel_check {

namespace {

constexpr int kRagged = 70;  // lengths 1..70: four whole vectors and every tail
constexpr int64_t kModelWidths[] = {576, 1536};

// n floats that end at the guard, or, `shifted`, one element before it: so both alignments of every length are read.
struct Row {
    Row(size_t n, bool shifted) : array(n + shifted) {}
    float* data() const { return array.data(); }
    Array<float> array;
};

template <class Check>
void each_length(const Check& check) {
    for (int64_t n = 1; n <= kRagged; n++) check(n);
    for (int64_t n : kModelWidths) check(n);
}

void judge_block(Run& run, const float* x, const int8_t* q, float d, float e, pyruntime::BlockSums sums) {
    double largest = 0;
    bool finite = true;
    int total = 0, first = 0;
    for (int i = 0; i < 32; i++) {
        finite = finite && std::fabs(x[i]) < INFINITY;
        largest = std::fmax(largest, std::fabs(double(x[i])));
        total += q[i];
        if (i < 16) first += q[i];
    }
    run.require(sums.all == total && sums.first == first, "sums are not those of q");
    if (!finite || largest < 0x1p-100) {
        for (int i = 0; i < 32; i++) run.require(q[i] == 0, "q of a block that vanishes or is not finite");
        run.require(finite ? d == 0 && e == 0 : d != d && e != e, "scale of a block that vanishes or is not finite");
        return;
    }
    run.within("d", 0, d, largest / 127, kUlp * d + kUnderflow);
    const double product = double(d) * total,
                 rounded = float(product);  // of a block near the largest float: an infinity
    run.within("e", 0, e, std::fabs(rounded) < INFINITY ? product : rounded, kUlp * std::fabs(product) + kUnderflow);
    for (int i = 0; i < 32; i++) {
        run.require(q[i] >= -127, "q is -128");
        run.within("q * d", size_t(i), q[i] * largest / 127, x[i], kQuantizeSteps * largest / 127);
    }
}

}  // namespace

void check_quantize(Run& run) {
    const auto one = [&](const char* name, const float* x, int64_t cols) {
        run.begin(text("quantize %s cols %d", name, int(cols)));
        const size_t blocks = size_t(cols / 32);
        const Output<int8_t> q{size_t(cols)};
        const Output<float> d(blocks), e(blocks);
        const Output<pyruntime::BlockSums> sums(blocks);
        run.k.quantize(x, cols, q.data(), d.data(), e.data(), sums.data());
        run.result("q", q.data(), q.size());
        run.result("d", d.data(), blocks);
        run.result("e", e.data(), blocks);
        for (size_t b = 0; b < blocks; b++) {
            const int32_t both[] = {sums[b].all, sums[b].first};
            run.result("sums", both, 2);
        }
        q.check_strips(run, "q");
        d.check_strips(run, "d");
        e.check_strips(run, "e");
        sums.check_strips(run, "sums");
        if (!run.reference()) return;
        for (size_t b = 0; b < blocks; b++) judge_block(run, x + 32 * b, q.data() + 32 * b, d[b], e[b], sums[b]);
    };
    for (uint32_t kind = 0; kind < kBlockKinds; kind++)
        for (int i = 0; i < 40; i++) {
            Row x(32, i % 2);
            Random r(kind * 100 + i);
            fill_block(r, kind, x.data());
            one(text("block of kind %u", kind).c_str(), x.data(), 32);
        }
    for (int64_t cols : {64, 96, 576, 1536})
        for (Profile profile : {Profile::kOrdinary, Profile::kExtreme})
            for (size_t row = 0; row < 14; row++) {
                Row x(size_t(cols), row % 2);
                fill_row(profile, 7, row, x.data(), size_t(cols));
                one(profile == Profile::kOrdinary ? "ordinary row" : "extreme row", x.data(), cols);
            }
}

void check_rms_norm(Run& run) {
    const auto one = [&](int64_t n, Profile profile, size_t row) {
        run.begin(text("rms_norm %s n %d", profile == Profile::kOrdinary ? "ordinary" : "extreme", int(n)));
        Row x(size_t(n), row % 2), w(size_t(n), row % 3 == 1);
        fill_row(profile, 11, row, x.data(), size_t(n));
        fill_row(Profile::kOrdinary, 12, row, w.data(), size_t(n));
        const float eps = row % 2 ? 1e-5f : 1e-6f;
        const Output<float> y{size_t(n)};
        run.k.rms_norm(x.data(), w.data(), eps, n, y.data());
        run.result("y", y.data(), y.size());
        y.check_strips(run, "y");
        if (run.reference() && profile == Profile::kOrdinary) {
            double squares = 0;
            for (int64_t i = 0; i < n; i++) squares += double(x.data()[i]) * x.data()[i];
            const double r = 1 / std::sqrt(squares / double(n) + eps);
            const double roundings =
                double((n + 15) / 16) / 2 + kRmsNormRoundings;  // the root halves those of the chain
            for (int64_t i = 0; i < n; i++) {
                const double expected = x.data()[i] * r * w.data()[i];
                run.within("y", size_t(i), y[size_t(i)], expected, chain_budget(roundings, std::fabs(expected)));
            }
        }
        const Output<float> plain{size_t(n)}, of_ones{size_t(n)};
        const Row ones(size_t(n), false);
        for (int64_t i = 0; i < n; i++) ones.data()[i] = 1;
        run.k.rms_norm(x.data(), nullptr, eps, n, plain.data());
        run.k.rms_norm(x.data(), ones.data(), eps, n, of_ones.data());
        run.same("without a weight", plain.data(), of_ones.data(), plain.size());
        plain.check_strips(run, "without a weight");
        run.k.rms_norm(x.data(), w.data(), eps, n, x.data());
        run.same("in place", x.data(), y.data(), y.size());
    };
    each_length([&](int64_t n) {
        for (size_t row = 0; row < 3; row++) one(n, Profile::kOrdinary, row);
        for (size_t row = 0; row < 7; row++) one(n, Profile::kExtreme, row);
    });
}

void check_layer_norm(Run& run) {
    const auto one = [&](int64_t n, Profile profile, size_t row, bool weighted, bool biased) {
        run.begin(text("layer_norm %s n %d%s%s", profile == Profile::kOrdinary ? "ordinary" : "extreme", int(n),
                       weighted ? " weight" : "", biased ? " bias" : ""));
        Row x(size_t(n), row % 2), w(size_t(n), row % 3 == 1), b(size_t(n), row % 3 == 2);
        fill_row(profile, 13, row, x.data(), size_t(n));
        fill_row(Profile::kOrdinary, 14, row, w.data(), size_t(n));
        fill_row(Profile::kOrdinary, 15, row, b.data(), size_t(n));
        const float eps = row % 2 ? 1e-5f : 1e-2f;
        const float *weight = weighted ? w.data() : nullptr, *bias = biased ? b.data() : nullptr;
        const Output<float> y{size_t(n)};
        run.k.layer_norm(x.data(), weight, bias, eps, n, y.data());
        run.result("y", y.data(), y.size());
        y.check_strips(run, "y");
        if (run.reference() && profile == Profile::kOrdinary) {
            double mean = 0, squares = 0, largest = 0;
            for (int64_t i = 0; i < n; i++) mean += x.data()[i] / double(n);
            for (int64_t i = 0; i < n; i++) {
                const double value = x.data()[i];
                squares += (value - mean) * (value - mean);
                largest = std::fabs(value) > largest ? std::fabs(value) : largest;
            }
            const double r = 1 / std::sqrt(squares / double(n) + eps);
            const double roundings = double((n + 15) / 16) + kRmsNormRoundings + 3;  // the mean's, too
            for (int64_t i = 0; i < n; i++) {
                const double scale = r * (weighted ? w.data()[i] : 1), shift = biased ? b.data()[i] : 0;
                const double expected = (x.data()[i] - mean) * scale + shift;
                run.within("y", size_t(i), y[size_t(i)], expected,
                           chain_budget(roundings, largest * std::fabs(scale) + std::fabs(shift)));
            }
        }
        run.k.layer_norm(x.data(), weight, bias, eps, n, x.data());
        run.same("in place", x.data(), y.data(), y.size());
    };
    each_length([&](int64_t n) {
        for (size_t row = 0; row < 4; row++) one(n, Profile::kOrdinary, row, row % 2, row / 2);
        for (size_t row = 0; row < 7; row++) one(n, Profile::kExtreme, row, row % 2, row % 3 == 0);
    });
}

void check_scale(Run& run) {
    each_length([&](int64_t n) {
        for (size_t row = 0; row < 7; row++) {
            run.begin(text("scale n %d", int(n)));
            Row x(size_t(n), row % 2), sum(size_t(n), row % 3 == 1);
            fill_row(row < 2 ? Profile::kOrdinary : Profile::kExtreme, 23, row, x.data(), size_t(n));
            fill_row(row < 2 ? Profile::kOrdinary : Profile::kExtreme, 24, row, sum.data(), size_t(n));
            const float factor = row % 2 ? 22.6274166f : -0.1f;
            const Output<float> y{size_t(n)};
            run.k.scale(x.data(), factor, n, y.data());
            run.result("y", y.data(), y.size());
            y.check_strips(run, "y");
            for (int64_t i = 0; run.reference() && i < n; i++) {
                const float expected = float(double(x.data()[i]) * double(factor));  // exact before it is rounded
                run.same("y", y.data() + i, &expected, 1);
            }
            const Row kept(size_t(n), false);
            for (int64_t i = 0; i < n; i++) kept.data()[i] = sum.data()[i];
            run.k.add_scaled(factor, x.data(), n, sum.data());
            run.result("add_scaled", sum.data(), size_t(n));
            for (int64_t i = 0; run.reference() && i < n; i++) {
                const float expected = std::fmaf(factor, x.data()[i], kept.data()[i]);
                run.same("add_scaled", sum.data() + i, &expected, 1);
            }
            run.k.scale(x.data(), factor, n, x.data());
            run.same("in place", x.data(), y.data(), y.size());
        }
    });
}

void check_add(Run& run) {
    each_length([&](int64_t n) {
        for (size_t row = 0; row < 7; row++) {
            run.begin(text("add n %d", int(n)));
            Row a(size_t(n), row % 2), b(size_t(n), row % 3 == 1);
            fill_row(row < 2 ? Profile::kOrdinary : Profile::kExtreme, 21, row, a.data(), size_t(n));
            fill_row(row < 2 ? Profile::kOrdinary : Profile::kExtreme, 22, row, b.data(), size_t(n));
            const Output<float> y{size_t(n)};
            run.k.add(a.data(), b.data(), n, y.data());
            run.result("y", y.data(), y.size());
            y.check_strips(run, "y");
            for (int64_t i = 0; run.reference() && i < n; i++) {
                // A sum of two binary32 rounded to binary64 and then to binary32 is the sum rounded once (53 >= 2 * 24
                // + 2).
                const float expected = float(double(a.data()[i]) + double(b.data()[i]));
                run.same("y", y.data() + i, &expected, 1);
            }
            run.k.add(a.data(), b.data(), n, a.data());
            run.same("in place", a.data(), y.data(), y.size());
        }
    });
}

void check_exp(Run& run) {
    double worst = 0, worst_at = 0;
    const auto one = [&](const float* x, int64_t n) {
        const Output<float> y{size_t(n)};
        run.k.exp(x, n, y.data());
        run.result("y", y.data(), y.size());
        y.check_strips(run, "y");
        for (int64_t i = 0; run.reference() && i < n; i++) {
            const double v = x[i], got = y[size_t(i)];
            if (v != v) {
                run.require(got != got, "exp of NaN is a number");
            } else if (v < -87 || v > 88) {
                run.require(got == (v < 0 ? 0 : INFINITY), text("exp(%.9g) is %.9g", v, got));
            } else {
                const double exact = std::exp(v), error = std::fabs(got / exact - 1);
                run.within("y", size_t(i), got, exact, kExp * exact);
                if (error > worst) worst = error, worst_at = v;
            }
        }
    };
    for (int64_t n = 1; n <= kRagged; n++) {
        run.begin(text("exp n %d", int(n)));
        Row x(size_t(n), n % 3 == 1);
        Random r(31 + uint64_t(n));
        for (int64_t i = 0; i < n; i++) x.data()[i] = random_float(r, -30, 7);
        one(x.data(), n);
    }
    run.begin("exp at the edges");
    for (uint32_t edge :
         {0u, 0x3f800000u, 0x42ae0000u /* 87 */, 0x42b00000u /* 88 */, kLargest, kInfinity, kNaN, 0x42b17218u})
        for (uint32_t sign : {0u, 0x80000000u}) {
            float x[3];
            for (uint32_t i = 0; i < 3; i++) x[i] = float_from_bits((sign | edge) + (edge ? i - 1 : i));
            one(x, 3);
        }
    run.begin("exp, every 1,021st float of [-87, 88]");
    constexpr uint32_t kStep = 1021, kChunk = 4096;
    const Array<float> x(kChunk);
    for (uint32_t sign : {0u, 0x80000000u})
        for (uint32_t bits = 0, last = sign ? 0x42ae0000 : 0x42b00000; bits <= last;) {
            uint32_t n = 0;
            for (; n < kChunk && bits <= last; bits += kStep) x[n++] = float_from_bits(sign | bits);
            one(x.data(), n);
        }
    const float zero = 0;
    float one_exactly = 0;
    run.k.exp(&zero, 1, &one_exactly);
    run.require(one_exactly == 1, "exp(0) is not 1");
    if (run.reference()) run.note = text("largest relative error %.4g at %.9g", worst, worst_at);
}

void check_all_finite(Run& run) {
    each_length([&](int64_t n) {
        run.begin(text("all_finite n %d", int(n)));
        Row x(size_t(n), n % 3 == 1);
        Random r(41 + uint64_t(n));
        for (int64_t i = 0; i < n; i++) x.data()[i] = extreme_finite(r);
        const auto expect = [&](bool expected) {
            const int32_t got = run.k.all_finite(x.data(), n);
            run.result("all_finite", &got, 1);
            run.require((got != 0) == expected, expected ? "false for finite values" : "true for an infinity or a NaN");
        };
        expect(true);
        for (int64_t i = 0; i < n; i++) {
            const float kept = x.data()[i];
            static constexpr uint32_t kBad[] = {kInfinity, kNaN, kInfinity | 0x80000000, 0xffffffff, kInfinity + 1};
            x.data()[i] = float_from_bits(kBad[i % 5]);
            expect(false);
            x.data()[i] = kept;
        }
    });
}

}  // namespace kernel_check
