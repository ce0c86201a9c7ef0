//! NetworkPolicy and its kin: parsed, compiled, evaluated and explained. Pure.
