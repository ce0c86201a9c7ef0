mod agreement;
mod language;
