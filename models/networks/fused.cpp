// The functions of steps.py in compiled code. The rows of a batch are independent, so each thread computes all steps of a
// chunk for its own rows without waiting. Between two matrix products all elementwise work is one pass over memory.
//
// Equations as in docs/derivations/bptt.md. m steps, B batch, H hidden units; gates in the order g, i, f, o.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/native/CPUBlas.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <vector>

using at::Tensor;
using at::vec::Vectorized;
using OptionalTensor = std::optional<Tensor>;
namespace blas = at::native::cpublas;  // not public, but nothing public multiplies packed blocks of bfloat16

namespace {

constexpr int64_t kMinRows = 16;  // with fewer rows a thread spends more time on loading weights than on products

template <class Work>
void share_rows(int64_t batch_size, const Work& work) {
  const int64_t share = std::max(kMinRows, at::divup(batch_size, at::get_num_threads()));
  at::parallel_for(0, batch_size, share, [&](int64_t begin, int64_t end) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    work(begin, end - begin);
  });
}

// Products with a matrix that is the same for all steps of a chunk. They are computed in its dtype, with sums in float32 or
// better. In bfloat16, if the processor multiplies blocks (AMX), the matrix is packed once; torch's mm would pack it at every
// step, and take five times as long.
class FixedMatrix {
 public:
  FixedMatrix(const Tensor& matrix, at::ScalarType others) : matrix_(matrix), K_(matrix.size(0)), N_(matrix.size(1)) {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32  // torch 2.6 does not define it, and does not export `pack`
    const bool is_mixed = others == at::kFloat && matrix.scalar_type() == at::kBFloat16;
    if (is_mixed && blas::could_pack(at::kBFloat16) && K_ % 2 == 0 && N_ % kBlock == 0 && K_ > 0 && N_ > 0) pack();
#endif
  }

  // out = left @ matrix, or out += left @ matrix. The rows of both are contiguous.
  void multiply(Tensor out, const Tensor& left, bool add) const {
    if (!packed_.empty()) {
      multiply_packed(out.mutable_data_ptr<float>(), left.const_data_ptr<float>(), left.size(0), add);
    } else if (out.scalar_type() != matrix_.scalar_type()) {
      const Tensor product = at::mm(left.to(matrix_.scalar_type()), matrix_);
      add ? out.add_(product) : out.copy_(product);
    } else if (add) {
      at::addmm_out(out, out, left, matrix_);
    } else {
      at::mm_out(out, left, matrix_);
    }
  }

  // Each thread that has multiplied must call this at its end, because AMX has a state.
  void release() const { if (!packed_.empty()) blas::brgemm_release(); }

 private:
  static constexpr int64_t kBlock = 64;  // columns

  void pack() {
    const Tensor rows = matrix_.contiguous();
    const at::BFloat16* const from = rows.const_data_ptr<at::BFloat16>();
    packed_.resize(K_ * N_);
    at::parallel_for(0, N_ / kBlock, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        at::BFloat16* const to = packed_.data() + block * kBlock * K_;
        blas::pack(K_, kBlock, N_, kBlock, at::kBFloat16, at::kBFloat16, from + block * kBlock, to);
      }
    });
  }

  void multiply_packed(float* out, const float* left, int64_t num_rows, bool add) const {
    static thread_local std::vector<at::BFloat16> converted;
    converted.resize(num_rows * K_);
    at::vec::convert(left, converted.data(), num_rows * K_);
    for (int64_t column = 0; column < N_; column += kBlock) {
      const at::BFloat16* const block = packed_.data() + column * K_;
      blas::brgemm(num_rows, kBlock, K_, K_, kBlock, N_, add, converted.data(), block, out + column);
    }
  }

  Tensor matrix_;
  int64_t K_, N_;
  std::vector<at::BFloat16> packed_;
};

Tensor rows_at(const Tensor& buffer, int64_t t, int64_t row, int64_t num_rows) { return buffer[t].narrow(0, row, num_rows); }

template <class scalar>
Vectorized<scalar> sigmoid(const Vectorized<scalar>& x) {
  return Vectorized<scalar>(1) / (Vectorized<scalar>(1) + x.neg().exp());
}

inline Vectorized<double> tanh(const Vectorized<double>& x) { return x.tanh(); }

// The library's tanh takes five times as long as its exp. (1 - e) / (1 + e) with e = exp(-2|x|) is inaccurate near 0; there
// the Taylor series is used.
inline Vectorized<float> tanh(const Vectorized<float>& x) {
  using Vec = Vectorized<float>;
  const Vec one(1), size = x.abs(), e = (size * Vec(-2)).exp(), square = x * x;
  Vec series = at::vec::fmadd(square, Vec(62.f / 2835), Vec(-17.f / 315));
  series = at::vec::fmadd(square, series, Vec(2.f / 15));
  series = at::vec::fmadd(square, series, Vec(-1.f / 3));
  series = at::vec::fmadd(square * x, series, x);
  return Vec::blendv(((one - e) / (one + e)).copysign(x), series, size < Vec(0.25f));
}

// Reads and writes `count` numbers at an offset; the other lanes of the vector are ignored.
template <class scalar>
struct Lanes {
  using Vec = Vectorized<scalar>;
  int64_t offset, count;
  Vec load(const scalar* from) const { return Vec::loadu(from + offset, count); }
  void store(const Vec& vec, scalar* to) const { vec.store(to + offset, static_cast<int>(count)); }
};

// x, or 0 if its absolute value is smaller than `vanished`.
template <class scalar>
Vectorized<scalar> unless_vanished(const Vectorized<scalar>& x, const Vectorized<scalar>& vanished) {
  return Vectorized<scalar>::blendv(x, Vectorized<scalar>(0), x.abs() < vanished);
}

template <class scalar, class Work>
void for_each_lanes(int64_t size, const Work& work) {
  constexpr int64_t width = Vectorized<scalar>::size();
  for (int64_t j = 0; j < size; j += width) work(Lanes<scalar>{j, std::min(width, size - j)});
}

// The contribution of the inputs to row `row` of step t: a row of the table, or zeros if a holds the contributions already.
template <class scalar>
class InputRows {
 public:
  InputRows(const OptionalTensor& table, const OptionalTensor& ids, const Tensor& a)
      : zeros_(at::zeros({a.size(2)}, a.options())),
        table_((table ? *table : zeros_).const_data_ptr<scalar>()),
        ids_(ids ? ids->const_data_ptr<int64_t>() : nullptr),
        batch_size_(a.size(1)),
        width_(a.size(2)) {}
  const scalar* operator()(int64_t t, int64_t row) const {
    return ids_ == nullptr ? table_ : table_ + ids_[t * batch_size_ + row] * width_;
  }

 private:
  Tensor zeros_;
  const scalar* table_;
  const int64_t* ids_;
  int64_t batch_size_, width_;
};

// Calls work(t, row) for all rows of each step, after a_t = (the inputs, if a holds them) + h_{t-1} W_t.
template <class Work>
void forward_steps(const Tensor& a, const Tensor& h, const Tensor& W_t, bool a_holds_inputs, bool from_zero, const Work& work) {
  const FixedMatrix recurrent(W_t, a.scalar_type());
  share_rows(a.size(1), [&](int64_t first, int64_t num_rows) {
    for (int64_t t = 0; t < a.size(0); ++t) {
      Tensor a_t = rows_at(a, t, first, num_rows);
      const bool h_is_zero = t == 0 && from_zero;
      if (!h_is_zero) recurrent.multiply(a_t, rows_at(h, t, first, num_rows), a_holds_inputs);
      if (h_is_zero && !a_holds_inputs) a_t.zero_();
      for (int64_t row = first; row < first + num_rows; ++row) work(t, row);
    }
    recurrent.release();
  });
}

// Calls work(t, row, dh_t of this row), which fills delta_t, then computes dh_{t-1} = delta_t W, from the last step back.
template <class scalar, class Work>
void backward_steps(
    const Tensor& dh, const Tensor& delta, const Tensor& W, const OptionalTensor& incoming, bool to_start, const Work& work) {
  const int64_t H = dh.size(2);
  const FixedMatrix recurrent(W, delta.scalar_type());
  share_rows(delta.size(1), [&](int64_t first, int64_t num_rows) {
    for (int64_t t = delta.size(0) - 1; t >= 0; --t) {
      Tensor dh_t = rows_at(dh, t + 1, first, num_rows);
      if (incoming) dh_t.add_(rows_at(*incoming, t, first, num_rows));
      const scalar* const all_dh = dh_t.const_data_ptr<scalar>();
      for (int64_t row = first; row < first + num_rows; ++row) work(t, row, all_dh + (row - first) * H);
      if (t == 0 && !to_start) break;
      recurrent.multiply(rows_at(dh, t, first, num_rows), rows_at(delta, t, first, num_rows), false);
    }
    recurrent.release();
  });
}

// Equation 1.
void rnn_forward(
    Tensor a, Tensor h, const Tensor& W_t, const OptionalTensor& table, const OptionalTensor& ids, bool from_zero) {
  const int64_t B = a.size(1), H = a.size(2);
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "rnn_forward", [&] {
    const InputRows<scalar_t> inputs(table, ids, a);
    scalar_t* const all = a.mutable_data_ptr<scalar_t>();
    forward_steps(a, h, W_t, !table, from_zero, [&](int64_t t, int64_t row) {
      scalar_t* const h_t = all + (t * B + row) * H;
      const scalar_t* const x = inputs(t, row);
      for_each_lanes<scalar_t>(H, [&](auto at) { at.store(tanh(at.load(h_t) + at.load(x)), h_t); });
    });
  });
}

// delta_t = dh_t (1 - h_t^2)
void rnn_backward(const Tensor& gates, Tensor dh, Tensor delta, const Tensor& W, const OptionalTensor& incoming,
                  double vanished, bool to_start) {
  const int64_t B = delta.size(1), H = delta.size(2);
  AT_DISPATCH_FLOATING_TYPES(delta.scalar_type(), "rnn_backward", [&] {
    const scalar_t* const all_h = gates.const_data_ptr<scalar_t>();
    scalar_t* const all_delta = delta.mutable_data_ptr<scalar_t>();
    const Vectorized<scalar_t> one(1), smallest(static_cast<scalar_t>(vanished));
    backward_steps<scalar_t>(dh, delta, W, incoming, to_start, [&](int64_t t, int64_t row, const scalar_t* dh_row) {
      const scalar_t* const h_row = all_h + (t * B + row) * H;
      scalar_t* const delta_row = all_delta + (t * B + row) * H;
      for_each_lanes<scalar_t>(H, [&](auto at) {
        const auto h_t = at.load(h_row);
        at.store(unless_vanished(at.load(dh_row), smallest) * (one - h_t * h_t), delta_row);
      });
    });
  });
}

// Equations 4-9.
void lstm_forward(Tensor a, Tensor h, Tensor c, const Tensor& W_t, const OptionalTensor& table, const OptionalTensor& ids,
                  bool from_zero) {
  const int64_t B = a.size(1), H = h.size(2);
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "lstm_forward", [&] {
    const InputRows<scalar_t> inputs(table, ids, a);
    scalar_t* const all_gates = a.mutable_data_ptr<scalar_t>();
    scalar_t* const all_h = h.mutable_data_ptr<scalar_t>();
    scalar_t* const all_c = c.mutable_data_ptr<scalar_t>();
    forward_steps(a, h, W_t, !table, from_zero, [&](int64_t t, int64_t row) {
      scalar_t *const g = all_gates + (t * B + row) * 4 * H, *const i = g + H, *const f = i + H, *const o = f + H;
      const scalar_t *const x = inputs(t, row), *const c_before = all_c + (t * B + row) * H;
      scalar_t *const c_row = all_c + ((t + 1) * B + row) * H, *const h_row = all_h + ((t + 1) * B + row) * H;
      for_each_lanes<scalar_t>(H, [&](auto at) {
        const auto g_t = tanh(at.load(g) + at.load(x)), i_t = sigmoid(at.load(i) + at.load(x + H)),
                   f_t = sigmoid(at.load(f) + at.load(x + 2 * H)), o_t = sigmoid(at.load(o) + at.load(x + 3 * H));
        const auto c_t = at::vec::fmadd(g_t, i_t, at.load(c_before) * f_t);
        at.store(g_t, g);
        at.store(i_t, i);
        at.store(f_t, f);
        at.store(o_t, o);
        at.store(c_t, c_row);
        at.store(tanh(c_t) * o_t, h_row);
      });
    });
  });
}

// dc_t += dh_t o_t (1 - tanh(c_t)^2), the four deltas, dc_{t-1} = dc_t f_t
void lstm_backward(const Tensor& gates, const Tensor& c, Tensor dh, Tensor dc, Tensor delta, const Tensor& W,
                   const OptionalTensor& incoming, double vanished, bool to_start) {
  const int64_t B = delta.size(1), H = dc.size(1);
  AT_DISPATCH_FLOATING_TYPES(delta.scalar_type(), "lstm_backward", [&] {
    const scalar_t* const all_gates = gates.const_data_ptr<scalar_t>();
    const scalar_t* const all_c = c.const_data_ptr<scalar_t>();
    scalar_t* const all_dc = dc.mutable_data_ptr<scalar_t>();
    scalar_t* const all_delta = delta.mutable_data_ptr<scalar_t>();
    const Vectorized<scalar_t> one(1), smallest(static_cast<scalar_t>(vanished));
    backward_steps<scalar_t>(dh, delta, W, incoming, to_start, [&](int64_t t, int64_t row, const scalar_t* dh_row) {
      const scalar_t *const g = all_gates + (t * B + row) * 4 * H, *const i = g + H, *const f = i + H, *const o = f + H;
      const scalar_t *const c_before = all_c + (t * B + row) * H, *const c_row = all_c + ((t + 1) * B + row) * H;
      scalar_t *const dc_row = all_dc + row * H, *const delta_row = all_delta + (t * B + row) * 4 * H;
      for_each_lanes<scalar_t>(H, [&](auto at) {
        const auto g_t = at.load(g), i_t = at.load(i), f_t = at.load(f), o_t = at.load(o);
        const auto tanh_c = tanh(at.load(c_row)), dh_t = unless_vanished(at.load(dh_row), smallest);
        const auto dc_t = unless_vanished(at.load(dc_row) + dh_t * o_t * (one - tanh_c * tanh_c), smallest);
        at.store(dc_t * i_t * (one - g_t * g_t), delta_row);
        at.store(dc_t * g_t * i_t * (one - i_t), delta_row + H);
        at.store(dc_t * at.load(c_before) * f_t * (one - f_t), delta_row + 2 * H);
        at.store(dh_t * tanh_c * o_t * (one - o_t), delta_row + 3 * H);
        at.store(dc_t * f_t, dc_row);
      });
    });
  });
}

}  // namespace

TORCH_LIBRARY(palimpsest, library) {
  library.def(
      "rnn_forward(Tensor(a!) a, Tensor(b!) h, Tensor W_t, Tensor? table, Tensor? ids, bool from_zero) -> ()", &rnn_forward);
  library.def(
      "rnn_backward(Tensor gates, Tensor(a!) dh, Tensor(b!) delta, Tensor W, Tensor? incoming, float vanished,"
      " bool to_start) -> ()",
      &rnn_backward);
  library.def(
      "lstm_forward(Tensor(a!) a, Tensor(b!) h, Tensor(c!) c, Tensor W_t, Tensor? table, Tensor? ids, bool from_zero) -> ()",
      &lstm_forward);
  library.def(
      "lstm_backward(Tensor gates, Tensor c, Tensor(a!) dh, Tensor(b!) dc, Tensor(c!) delta, Tensor W, Tensor? incoming,"
      " float vanished, bool to_start) -> ()",
      &lstm_backward);
}
