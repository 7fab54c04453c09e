"""Hardware adapter: measured figures of edge boards, roofline models fitted to them, and a board catalogue."""

from wdmoe_env.hardware.boards import Board, Roofline, board_names, load_board, roofline

__all__ = ["Board", "Roofline", "board_names", "load_board", "roofline"]
