;; y = x·w + b for a block of rows, in f32, where many x are zero (they follow a ReLU).
;;
;; x  rows × K            w  N/16 panels of K × 16, so that a panel lies in the first-level cache
;; y  rows × N            b  N
;; list  rows × (K + 1) pairs of 8 bytes: scratch for (x, place of its row in a panel), the nonzero ones alone
(module
  (memory (export "memory") 1)
  (func (export "matmul")
    (param $x i32) (param $rows i32) (param $K i32) (param $w i32) (param $b i32) (param $N i32) (param $y i32)
    (param $list i32)
    (local $r i32) (local $k i32) (local $p i32) (local $at i32) (local $end i32) (local $panel i32) (local $to i32)
    (local $value f32) (local $a v128) (local $from i32)
    (local $s0 v128) (local $s1 v128) (local $s2 v128) (local $s3 v128)

    ;; The nonzero values of each row, and after the last one the end of the list.
    (local.set $r (i32.const 0))
    (loop $each_row
      (local.set $at (i32.add (local.get $list)
        (i32.mul (local.get $r) (i32.shl (i32.add (local.get $K) (i32.const 1)) (i32.const 3)))))
      (local.set $end (local.get $at))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (local.set $k (i32.const 0))
      (loop $each_value
        (local.set $value (f32.load (local.get $x)))
        (f32.store (local.get $at) (local.get $value))
        (i32.store offset=4 (local.get $at) (i32.shl (local.get $k) (i32.const 6)))
        (local.set $at (i32.add (local.get $at)
          (i32.shl (f32.ne (local.get $value) (f32.const 0)) (i32.const 3))))
        (local.set $x (i32.add (local.get $x) (i32.const 4)))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if $each_value (i32.lt_u (local.get $k) (local.get $K))))
      (i32.store (local.get $end) (local.get $at))
      (local.set $r (i32.add (local.get $r) (i32.const 1)))
      (br_if $each_row (i32.lt_u (local.get $r) (local.get $rows))))

    (local.set $p (i32.const 0))
    (local.set $panel (local.get $w))
    (loop $each_panel
      (local.set $r (i32.const 0))
      (local.set $to (i32.add (local.get $y) (i32.shl (local.get $p) (i32.const 2))))
      (loop $each_row
        (local.set $at (i32.add (local.get $list)
          (i32.mul (local.get $r) (i32.shl (i32.add (local.get $K) (i32.const 1)) (i32.const 3)))))
        (local.set $end (i32.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $s0 (v128.load (local.get $b)))
        (local.set $s1 (v128.load offset=16 (local.get $b)))
        (local.set $s2 (v128.load offset=32 (local.get $b)))
        (local.set $s3 (v128.load offset=48 (local.get $b)))
        (if (i32.lt_u (local.get $at) (local.get $end)) (then
          (loop $each_value
            (local.set $a (v128.load32_splat (local.get $at)))
            (local.set $from (i32.add (local.get $panel) (i32.load offset=4 (local.get $at))))
            (local.set $s0 (f32x4.add (local.get $s0) (f32x4.mul (local.get $a) (v128.load (local.get $from)))))
            (local.set $s1 (f32x4.add (local.get $s1) (f32x4.mul (local.get $a) (v128.load offset=16 (local.get $from)))))
            (local.set $s2 (f32x4.add (local.get $s2) (f32x4.mul (local.get $a) (v128.load offset=32 (local.get $from)))))
            (local.set $s3 (f32x4.add (local.get $s3) (f32x4.mul (local.get $a) (v128.load offset=48 (local.get $from)))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $each_value (i32.lt_u (local.get $at) (local.get $end))))))
        (v128.store (local.get $to) (local.get $s0))
        (v128.store offset=16 (local.get $to) (local.get $s1))
        (v128.store offset=32 (local.get $to) (local.get $s2))
        (v128.store offset=48 (local.get $to) (local.get $s3))
        (local.set $to (i32.add (local.get $to) (i32.shl (local.get $N) (i32.const 2))))
        (local.set $r (i32.add (local.get $r) (i32.const 1)))
        (br_if $each_row (i32.lt_u (local.get $r) (local.get $rows))))
      (local.set $panel (i32.add (local.get $panel) (i32.shl (local.get $K) (i32.const 6))))
      (local.set $b (i32.add (local.get $b) (i32.const 64)))
      (local.set $p (i32.add (local.get $p) (i32.const 16)))
      (br_if $each_panel (i32.lt_u (local.get $p) (local.get $N)))))
)
