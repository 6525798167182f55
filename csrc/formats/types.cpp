#include "formats/types.h"

#include <iterator>

#include "formats/formats.h"

namespace pyruntime::formats {

namespace {

constexpr TypeInfo kTypes[] = {
    {F32, "F32", 1, 4, true},           {F16, "F16", 1, 2, true},        {Q4_0, "Q4_0", 32, 18, true},
    {Q4_1, "Q4_1", 32, 20, true},       {Q5_0, "Q5_0", 32, 22, true},    {Q5_1, "Q5_1", 32, 24, true},
    {Q8_0, "Q8_0", 32, 34, true},       {9, "Q8_1", 32, 40, false},      {Q2_K, "Q2_K", 256, 84, true},
    {Q3_K, "Q3_K", 256, 110, true},     {Q4_K, "Q4_K", 256, 144, true},  {Q5_K, "Q5_K", 256, 176, true},
    {Q6_K, "Q6_K", 256, 210, true},     {15, "Q8_K", 256, 292, false},   {16, "IQ2_XXS", 256, 66, false},
    {17, "IQ2_XS", 256, 74, false},     {18, "IQ3_XXS", 256, 98, false}, {19, "IQ1_S", 256, 50, false},
    {IQ4_NL, "IQ4_NL", 32, 18, true},   {21, "IQ3_S", 256, 110, false},  {22, "IQ2_S", 256, 82, false},
    {IQ4_XS, "IQ4_XS", 256, 136, true}, {24, "I8", 1, 1, false},         {25, "I16", 1, 2, false},
    {26, "I32", 1, 4, false},           {27, "I64", 1, 8, false},        {28, "F64", 1, 8, false},
    {29, "IQ1_M", 256, 56, false},      {BF16, "BF16", 1, 2, true},      {34, "TQ1_0", 256, 54, false},
    {35, "TQ2_0", 256, 66, false},      {MXFP4, "MXFP4", 32, 17, true},  {40, "NVFP4", 64, 36, false},
    {41, "Q1_0", 128, 18, false},
};

}  // namespace

std::vector<TypeInfo> all_types() { return {std::begin(kTypes), std::end(kTypes)}; }

const TypeInfo* find_type(uint32_t id) {
    for (const TypeInfo& t : kTypes)
        if (t.id == id) return &t;
    return nullptr;
}

}  // namespace pyruntime::formats
