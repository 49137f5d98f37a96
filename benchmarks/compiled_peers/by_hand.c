/* The XOR net by hand in C: what a careful programmer gets from the compiler alone.
   theta: W1[0,0] W1[0,1] W1[1,0] W1[1,1] b1[0] b1[1] W2[0] W2[1] b2. Loops over the four inputs become vector code. */
#include <math.h>

static const double X0[4] = {0, 0, 1, 1}, X1[4] = {0, 1, 0, 1}, SIGN[4] = {1, -1, -1, 1};

double xor_train(double *theta, long steps, double rate) {
    double w00 = theta[0], w01 = theta[1], w10 = theta[2], w11 = theta[3], b0 = theta[4], b1 = theta[5];
    double v0 = theta[6], v1 = theta[7], c = theta[8], loss = 0;
    for (long k = 0; k < steps; k++) {
        double p0[4], p1[4], s[4], e[4], dz[4], d0[4], d1[4];
        double gw00 = 0, gw01 = 0, gw10 = 0, gw11 = 0, gb0 = 0, gb1 = 0, gv0 = 0, gv1 = 0, gc = 0;
        loss = 0;
        for (int i = 0; i < 4; i++) {
            p0[i] = X0[i] * w00 + X1[i] * w10 + b0;
            p1[i] = X0[i] * w01 + X1[i] * w11 + b1;
            s[i] = SIGN[i] * (fmax(p0[i], 0) * v0 + fmax(p1[i], 0) * v1 + c);
        }
        for (int i = 0; i < 4; i++) e[i] = exp(-fabs(s[i]));
        for (int i = 0; i < 4; i++) loss += fmax(s[i], 0) + log(1 + e[i]);
        for (int i = 0; i < 4; i++) {
            dz[i] = 0.25 * SIGN[i] * ((s[i] > 0 ? 1 : e[i]) / (1 + e[i]));
            d0[i] = p0[i] > 0 ? dz[i] * v0 : 0;
            d1[i] = p1[i] > 0 ? dz[i] * v1 : 0;
        }
        for (int i = 0; i < 4; i++) {
            gv0 += dz[i] * fmax(p0[i], 0), gv1 += dz[i] * fmax(p1[i], 0), gc += dz[i];
            gw00 += d0[i] * X0[i], gw01 += d1[i] * X0[i], gw10 += d0[i] * X1[i], gw11 += d1[i] * X1[i];
            gb0 += d0[i], gb1 += d1[i];
        }
        w00 -= rate * gw00, w01 -= rate * gw01, w10 -= rate * gw10, w11 -= rate * gw11;
        b0 -= rate * gb0, b1 -= rate * gb1, v0 -= rate * gv0, v1 -= rate * gv1, c -= rate * gc;
    }
    theta[0] = w00, theta[1] = w01, theta[2] = w10, theta[3] = w11, theta[4] = b0, theta[5] = b1;
    theta[6] = v0, theta[7] = v1, theta[8] = c;
    return 0.25 * loss;
}

/* 19 nets, nets along the fast axis. */
double nudge_train(double *theta, long steps, double rate) {
    enum { NETS = 24 };
    double net[9][NETS], s[NETS], losses[NETS] = {0};
    for (long k = 0; k < steps; k++) {
        for (int p = 0; p < 9; p++) {
            double h = 0x1p-26 * fmax(1, fabs(theta[p]));
            for (int n = 0; n < NETS; n++) net[p][n] = theta[p];
            net[p][p] += h;
            net[p][9 + p] -= h;
        }
        for (int n = 0; n < NETS; n++) losses[n] = 0;
        for (int i = 0; i < 4; i++)
            for (int n = 0; n < NETS; n++) {
                double p0 = X0[i] * net[0][n] + X1[i] * net[2][n] + net[4][n];
                double p1 = X0[i] * net[1][n] + X1[i] * net[3][n] + net[5][n];
                s[n] = SIGN[i] * (fmax(p0, 0) * net[6][n] + fmax(p1, 0) * net[7][n] + net[8][n]);
                losses[n] += fmax(s[n], 0) + log(1 + exp(-fabs(s[n])));
            }
        for (int p = 0; p < 9; p++)
            theta[p] -= rate * 0.25 * (losses[p] - losses[9 + p]) / (net[p][p] - net[p][9 + p]);
    }
    return 0.25 * losses[18];
}

/* The net with tanh units: its final loss, and the derivative of that by the rate, with dual numbers. */
typedef struct { double v, d; } dual;
static inline dual add(dual a, dual b) { return (dual){a.v + b.v, a.d + b.d}; }
static inline dual mul(dual a, dual b) { return (dual){a.v * b.v, a.d * b.v + a.v * b.d}; }
static inline dual scale(double a, dual b) { return (dual){a * b.v, a * b.d}; }

double through(const double *start, long steps, double rate, double *slope) {
    dual t[9], loss = {0, 0}, lr = {-rate, -1};
    for (int p = 0; p < 9; p++) t[p] = (dual){start[p], 0};
    for (long k = 0; k <= steps; k++) {
        double a[8], h[8], e[4], da[8], s[4], ds[4];
        dual g[9] = {{0, 0}};
        for (int i = 0; i < 4; i++) {
            a[i] = X0[i] * t[0].v + X1[i] * t[2].v + t[4].v, da[i] = X0[i] * t[0].d + X1[i] * t[2].d + t[4].d;
            a[4 + i] = X0[i] * t[1].v + X1[i] * t[3].v + t[5].v, da[4 + i] = X0[i] * t[1].d + X1[i] * t[3].d + t[5].d;
        }
        for (int i = 0; i < 8; i++) {
            double q = exp(-2 * fabs(a[i]));
            h[i] = copysign((1 - q) / (1 + q), a[i]);
        }
        for (int i = 0; i < 4; i++) {
            double h0 = (1 - h[i] * h[i]) * da[i], h1 = (1 - h[4 + i] * h[4 + i]) * da[4 + i];
            s[i] = SIGN[i] * (h[i] * t[6].v + h[4 + i] * t[7].v + t[8].v);
            ds[i] = SIGN[i] * (h0 * t[6].v + h[i] * t[6].d + h1 * t[7].v + h[4 + i] * t[7].d + t[8].d);
        }
        for (int i = 0; i < 4; i++) e[i] = exp(-fabs(s[i]));
        if (k == steps) {
            for (int i = 0; i < 4; i++) {
                loss.v += 0.25 * (fmax(s[i], 0) + log(1 + e[i]));
                loss.d += 0.25 * ds[i] * ((s[i] > 0 ? 1 : e[i]) / (1 + e[i]));
            }
            break;
        }
        for (int i = 0; i < 4; i++) {
            double p = (s[i] > 0 ? 1 : e[i]) / (1 + e[i]);
            dual dz = {0.25 * SIGN[i] * p, 0.25 * SIGN[i] * p * (1 - p) * ds[i]};
            dual h0 = {h[i], (1 - h[i] * h[i]) * da[i]}, h1 = {h[4 + i], (1 - h[4 + i] * h[4 + i]) * da[4 + i]};
            dual u0 = {1 - h0.v * h0.v, -2 * h0.v * h0.d}, u1 = {1 - h1.v * h1.v, -2 * h1.v * h1.d};
            dual d0 = mul(mul(dz, t[6]), u0), d1 = mul(mul(dz, t[7]), u1);
            g[0] = add(g[0], scale(X0[i], d0)), g[1] = add(g[1], scale(X0[i], d1));
            g[2] = add(g[2], scale(X1[i], d0)), g[3] = add(g[3], scale(X1[i], d1));
            g[4] = add(g[4], d0), g[5] = add(g[5], d1);
            g[6] = add(g[6], mul(dz, h0)), g[7] = add(g[7], mul(dz, h1)), g[8] = add(g[8], dz);
        }
        for (int p = 0; p < 9; p++) t[p] = add(t[p], mul(lr, g[p]));
    }
    *slope = loss.d;
    return loss.v;
}
