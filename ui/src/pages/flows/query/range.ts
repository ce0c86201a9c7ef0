export * from "../../../state/range";
