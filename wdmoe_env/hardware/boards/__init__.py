"""Boards: the catalogue, the roofline time of an expert, and a cross-check against published rates."""

from wdmoe_env.hardware.boards.catalogue import Board, Roofline, board_names, load_board, roofline

__all__ = ["Board", "Roofline", "board_names", "load_board", "roofline"]
